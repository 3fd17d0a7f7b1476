#include "lib/compare.h"

#include <stdio.h>

void compare_print_head(const char *what, const char *ours, const char *theirs) {
    printf("%-28s %14s %16s %8s\n", what, ours, theirs, "ratio");
}

void compare_print(const char *what, const double *ours, const double *theirs, size_t size, int rounds) {
    double a[SAMPLES_MAX], b[SAMPLES_MAX], ratio[SAMPLES_MAX];
    size_t count = rounds < SAMPLES_MAX ? (size_t)rounds : SAMPLES_MAX;
    for (size_t i = 0; i < count; i++) {
        a[i] = *(const double *)((const char *)ours + i * size);
        b[i] = *(const double *)((const char *)theirs + i * size);
        ratio[i] = b[i] > 0 ? a[i] / b[i] : 0;
    }
    printf("  %-26s %14.1f %16.1f %8.2f\n", what, sample_median(a, count), sample_median(b, count),
           sample_median(ratio, count));
    fflush(stdout);
}
