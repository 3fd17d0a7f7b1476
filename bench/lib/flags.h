/* Command lines of the benchmarks: pairs of a flag and its value. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct flag {
    const char *name;  /* with its dashes */
    const char **text; /* where the value goes: this or... */
    int *number;       /* ...this */
};

/* false: an unknown flag, one without a value, or text where a number is wanted. */
bool flags_read(int argc, char **argv, const struct flag *flags, size_t count);
