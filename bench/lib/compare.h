/* Figures of ours beside those of something else, measured in the same rounds: printed are the medians of the
 * rounds, and of the rounds' ratios, which a noisy machine changes least. */
#pragma once

#include <stddef.h>

#include "lib/sample.h"

void compare_print_head(const char *what, const char *ours, const char *theirs);
/* One line. `ours` and `theirs` point to the figure in the first of `rounds` structs of `size` bytes, at most
 * SAMPLES_MAX. */
void compare_print(const char *what, const double *ours, const double *theirs, size_t size, int rounds);
