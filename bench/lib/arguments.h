/* The arguments of a program that a benchmark starts. */
#pragma once

#include <stddef.h>

enum { ARGUMENTS_MAX = 48 };

struct arguments {
    const char *list[ARGUMENTS_MAX + 1]; /* ends with NULL */
    char numbers[ARGUMENTS_MAX][12];     /* the texts of those that are numbers */
    size_t count;
};

/* Adds those of a list that ends with NULL, or none for NULL; they must outlive the struct. Exits when there
 * is no room. */
void arguments_add(struct arguments *arguments, const char *const *more);
/* Adds a flag and a number. */
void arguments_add_number(struct arguments *arguments, const char *flag, int number);
