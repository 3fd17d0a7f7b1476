/* Reads what GET /metrics says: a strict check of the format, and sums of samples. */
#pragma once

/* Fails the test unless every metric has HELP and TYPE once, counters and only they end in _total, every
 * sample stands under its metric, and every value is a number that is not negative. */
void exposition_check(const char *text);
/* The sum of all samples that begin with `series`: a name and a space, or the name and a part of the labels.
 */
long long exposition_sum(const char *text, const char *series);
