/* What all measurements share: a clock, a deadline, medians. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_MAX = 32 };

int64_t sample_now_ns(void);
/* Sorts `values`; `count` > 0. */
double sample_median(double *values, size_t count);
