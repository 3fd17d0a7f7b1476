#include "config/options.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void config_init(struct config *config) {
    *config = (struct config){0};
    for (size_t i = 0; i < option_count; i++) {
        const char *initial = option_table[i].initial;
        char why[OPTION_WHY_MAX];
        bool stored = option_store(&option_table[i], config, initial, strlen(initial), why);
        assert(stored); /* a default that its own row refuses */
        (void)stored;
    }
}

void config_clear_models(struct config *config) {
    for (size_t i = 0; i < config->model_count; i++) {
        free(config->models[i].name);
        free(config->models[i].path);
        config->models[i] = (struct config_model){0};
    }
    config->model_count = 0;
}

void config_release(struct config *config) {
    if (!config)
        return;
    for (size_t i = 0; i < option_count; i++)
        option_release(&option_table[i], config);
    config_clear_models(config);
    *config = (struct config){0};
}

bool config_add_model(struct config *config, const char *name, const char *path) {
    if (config->model_count == CONFIG_MODELS_MAX)
        return false;
    struct config_model *model = &config->models[config->model_count++];
    config_set_text(&model->path, path);
    if (name)
        config_set_text(&model->name, name);
    return true;
}
