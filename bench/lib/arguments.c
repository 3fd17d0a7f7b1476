#include "lib/arguments.h"

#include <stdio.h>
#include <stdlib.h>

static void add(struct arguments *arguments, const char *text) {
    if (arguments->count == ARGUMENTS_MAX) {
        fprintf(stderr, "more than %d arguments\n", ARGUMENTS_MAX);
        exit(2);
    }
    arguments->list[arguments->count++] = text;
}

void arguments_add(struct arguments *arguments, const char *const *more) {
    for (; more && *more; more++)
        add(arguments, *more);
}

void arguments_add_number(struct arguments *arguments, const char *flag, int number) {
    add(arguments, flag);
    size_t at = arguments->count;
    add(arguments, arguments->numbers[at]);
    snprintf(arguments->numbers[at], sizeof(arguments->numbers[at]), "%d", number);
}
