/* "did you mean": the distance of Damerau and Levenshtein, in its variant that never edits a swapped pair
 * again. */
#include "config/options.h"

#include <ctype.h>
#include <string.h>

enum { WORD_MAX = 64, FAR = 1000 };

/* Lower case, without '_' and '-': request_routing is requestRouting misspelt. */
static size_t normalize(const char *word, char *out) {
    size_t len = 0;
    for (; *word; word++) {
        if (*word == '_' || *word == '-')
            continue;
        if (len == WORD_MAX)
            return WORD_MAX + 1;
        out[len++] = (char)tolower((unsigned char)*word);
    }
    return len;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t word_distance(const char *a, const char *b) {
    char x[WORD_MAX];
    char y[WORD_MAX];
    size_t m = normalize(a, x);
    size_t n = normalize(b, y);
    if (m > WORD_MAX || n > WORD_MAX)
        return FAR;
    size_t row[3][WORD_MAX + 1]; /* of the table of distances between beginnings: the last two and this one */
    for (size_t j = 0; j <= n; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *before = row[(i + 1) % 3];
        size_t *last = row[(i + 2) % 3];
        size_t *here = row[i % 3];
        here[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t changed = last[j - 1] + (x[i - 1] != y[j - 1]);
            here[j] = least(changed, least(last[j], here[j - 1]) + 1);
            if (i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1])
                here[j] = least(here[j], before[j - 2] + 1);
        }
    }
    return row[m % 3][n];
}

bool word_is_close(const char *word, size_t distance) {
    size_t len = strlen(word);
    return distance <= (len < 4 ? 1 : len < 9 ? 2 : 3);
}

const char *config_closest_word(const char *word, const char *const *words, size_t count) {
    const char *best = NULL;
    size_t best_distance = FAR;
    for (size_t i = 0; i < count; i++) {
        size_t distance = word_distance(word, words[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = words[i];
        }
    }
    return best && word_is_close(word, best_distance) ? best : NULL;
}
