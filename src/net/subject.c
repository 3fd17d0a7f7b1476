#include "net/subject.h"

#include <stddef.h>
#include <string.h>

bool subject_is_valid(const char *subject) {
    char before = '.';
    for (const char *at = subject; *at; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || (*at == '.' && before == '.'))
            return false;
        before = *at;
    }
    return before != '.';
}

static bool token_matches(const char *pattern, size_t pattern_len, const char *token, size_t len) {
    if (pattern_len == 1 && pattern[0] == '*')
        return len > 0;
    return pattern_len == len && memcmp(pattern, token, len) == 0;
}

bool subject_matches(const char *pattern, const char *subject) {
    while (true) {
        if (pattern[0] == '>' && pattern[1] == '\0')
            return *subject != '\0';
        size_t pattern_len = strcspn(pattern, ".");
        size_t len = strcspn(subject, ".");
        if (!token_matches(pattern, pattern_len, subject, len))
            return false;
        pattern += pattern_len;
        subject += len;
        if (*pattern == '\0' || *subject == '\0')
            return *pattern == *subject;
        pattern++;
        subject++;
    }
}
