#include "route/weights.h"

#include <stdlib.h>
#include <string.h>

void weights_release(struct weights *weights) {
    for (size_t i = 0; i < weights->count; i++)
        free(weights->rules[i].pattern);
    free(weights->rules);
    *weights = (struct weights){0};
}

bool weights_add(struct weights *weights, const char *pattern, uint32_t thousandths) {
    if (weights->count == WEIGHTS_MAX)
        return false;
    struct weight_rule *rules = realloc(weights->rules, (weights->count + 1) * sizeof(*rules));
    if (!rules)
        return false;
    weights->rules = rules;
    char *copy = strdup(pattern);
    if (!copy)
        return false;
    rules[weights->count++] = (struct weight_rule){copy, thousandths};
    return true;
}

/* Goes back to the last star only: an earlier one could not help, as that star can take any text. So it is
 * never more than length times length steps. */
bool weights_pattern_fits(const char *pattern, const char *text) {
    const char *star = NULL;
    const char *tried = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            tried = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++tried;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

uint32_t weights_find(const struct weights *weights, const char *id, const char *hostname) {
    for (size_t i = 0; i < weights->count; i++)
        if (strcmp(weights->rules[i].pattern, id) == 0)
            return weights->rules[i].thousandths;
    for (size_t i = 0; i < weights->count; i++) {
        const char *pattern = weights->rules[i].pattern;
        if (weights_pattern_fits(pattern, id) || weights_pattern_fits(pattern, hostname))
            return weights->rules[i].thousandths;
    }
    return WEIGHT_ONE;
}
