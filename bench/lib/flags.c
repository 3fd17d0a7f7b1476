#include "lib/flags.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool read_number(const char *text, int *out) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    *out = (int)number;
    return end != text && *end == '\0' && errno == 0 && number >= INT_MIN && number <= INT_MAX;
}

bool flags_read(int argc, char **argv, const struct flag *flags, size_t count) {
    for (int i = 1; i < argc; i += 2) {
        size_t f = 0;
        while (f < count && strcmp(flags[f].name, argv[i]) != 0)
            f++;
        if (f == count || i + 1 == argc)
            return false;
        if (flags[f].text)
            *flags[f].text = argv[i + 1];
        else if (!read_number(argv[i + 1], flags[f].number))
            return false;
    }
    return true;
}
