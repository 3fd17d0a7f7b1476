/* Any bytes as a configuration file: it is refused or read; what was read and checked is written in a form
 * that reads back the same. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read_back(const struct config *config) {
    struct config copy;
    struct buf first;
    struct buf second;
    buf_init(&first, 0);
    buf_init(&second, 0);
    config_init(&copy);
    config_write_yaml(config, &first);
    if (config_read_text(&copy, "written", first.data, first.len, NULL) != STATUS_OK)
        abort();
    if (config_check(&copy, NULL) != STATUS_OK)
        abort();
    config_write_yaml(&copy, &second);
    if (first.failed || first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
        abort();
    config_release(&copy);
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config config;
    struct error error;
    config_init(&config);
    if (config_read_text(&config, "fuzz", (const char *)data, size, &error) == STATUS_OK &&
        config_check(&config, &error) == STATUS_OK)
        write_and_read_back(&config);
    config_release(&config);
    return 0;
}
