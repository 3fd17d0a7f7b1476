/* Any bytes as the query of a URL: reading ends, takes something with every step, and gives names and values
 * that keep their limits. */
#include "net/query.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *query = malloc(size + 1);
    if (!query)
        return 0;
    if (size > 0)
        memcpy(query, data, size);
    query[size] = '\0';
    const char *rest = query;
    const char *before = rest;
    struct query_param param;
    struct error error;
    while (query_next(&rest, &param, &error)) {
        if (rest <= before || rest > query + strlen(query))
            abort();
        if (!memchr(param.name, '\0', sizeof(param.name)) || !memchr(param.value, '\0', sizeof(param.value)))
            abort();
        before = rest;
    }
    if (error.status == STATUS_OK && *rest)
        abort();
    free(query);
    return 0;
}
