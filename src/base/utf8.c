#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* What a first byte promises: the length of its character and the range of the second byte. The range is what
 * excludes overlong forms, surrogates and numbers past U+10FFFF. */
struct lead {
    size_t len; /* 0: no character begins with this byte */
    unsigned char second_min;
    unsigned char second_max;
};

static struct lead lead_of(unsigned char byte) {
    if (byte < 0x80)
        return (struct lead){1, 0, 0};
    if (byte < 0xC2 || byte > 0xF4)
        return (struct lead){0, 0, 0};
    if (byte < 0xE0)
        return (struct lead){2, 0x80, 0xBF};
    if (byte < 0xF0)
        return (struct lead){3, byte == 0xE0 ? 0xA0 : 0x80, byte == 0xED ? 0x9F : 0xBF};
    return (struct lead){4, byte == 0xF0 ? 0x90 : 0x80, byte == 0xF4 ? 0x8F : 0xBF};
}

static bool is_continuation(unsigned char byte) {
    return (byte & 0xC0) == 0x80;
}

/* Length of the character that begins at `at`; 0 when it is broken or, with *truncated, not all there. */
static size_t char_len(const unsigned char *at, size_t avail, bool *truncated) {
    struct lead lead = lead_of(at[0]);
    size_t have = lead.len < avail ? lead.len : avail;
    if (have > 1 && (at[1] < lead.second_min || at[1] > lead.second_max))
        return 0;
    for (size_t i = 2; i < have; i++) {
        if (!is_continuation(at[i]))
            return 0;
    }
    *truncated = have < lead.len;
    return *truncated ? 0 : lead.len;
}

static bool is_ascii8(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t utf8_valid_prefix(const char *text, size_t len, bool *truncated) {
    const unsigned char *bytes = (const unsigned char *)text;
    bool partial = false;
    size_t at = 0;
    while (at < len) {
        if (len - at >= 8 && is_ascii8(bytes + at)) {
            at += 8;
            continue;
        }
        size_t step = char_len(bytes + at, len - at, &partial);
        if (step == 0)
            break;
        at += step;
    }
    if (truncated)
        *truncated = partial;
    return at;
}

bool utf8_is_valid(const char *text, size_t len) {
    return utf8_valid_prefix(text, len, NULL) == len;
}

size_t utf8_trim_partial(const char *text, size_t len) {
    size_t at = len;
    while (at > 0 && len - at < 3 && is_continuation((unsigned char)text[at - 1]))
        at--;
    if (at == 0)
        return len;
    bool truncated = false;
    utf8_valid_prefix(text + at - 1, len - at + 1, &truncated);
    return truncated ? at - 1 : len;
}
