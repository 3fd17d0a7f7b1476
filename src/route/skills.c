#include "route/skills.h"

#include <stdbool.h>
#include <string.h>

#define GPU_SKILL "gpu"

uint64_t skill_bit(const struct skill_table *table, const char *word) {
    for (uint64_t left = table->taken; left; left &= left - 1) {
        int i = __builtin_ctzll(left);
        if (strcmp(table->words[i], word) == 0)
            return UINT64_C(1) << i;
    }
    return 0;
}

bool skill_bits(const struct skill_table *table, const char *const *words, size_t count, uint64_t *bits) {
    *bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bit = skill_bit(table, words[i]);
        if (!bit)
            return false;
        *bits |= bit;
    }
    return true;
}

/* Its bit, a new one if it must be; `keep` gains it. */
static void learn(struct skill_table *table, const char *word, uint64_t *keep) {
    uint64_t bit = skill_bit(table, word);
    if (!bit && table->taken == UINT64_MAX)
        table->taken &= *keep;
    if (!bit && table->taken == UINT64_MAX) {
        table->refused++;
        return;
    }
    if (!bit) {
        int free_bit = __builtin_ctzll(~table->taken);
        strncpy(table->words[free_bit], word, SKILL_MAX);
        bit = UINT64_C(1) << free_bit;
        table->taken |= bit;
    }
    *keep |= bit;
}

void skill_learn(struct skill_table *table, const struct worker_info *info, uint64_t in_use) {
    uint32_t capabilities = 0;
    for (size_t i = 0; i < info->skill_count; i++)
        learn(table, info->skills[i], &in_use);
    if (info->hardware.gpu_count > 0)
        learn(table, GPU_SKILL, &in_use);
    for (size_t i = 0; i < info->model_count; i++)
        capabilities |= info->models[i].capabilities;
    for (int c = 0; c < MODEL_CAPABILITY_COUNT; c++)
        if (capabilities & model_capability_bit((enum model_capability)c))
            learn(table, model_capability_name((enum model_capability)c), &in_use);
}

uint64_t skill_bits_of_worker(const struct skill_table *table, const struct worker_info *info) {
    uint64_t bits = info->hardware.gpu_count > 0 ? skill_bit(table, GPU_SKILL) : 0;
    for (size_t i = 0; i < info->skill_count; i++)
        bits |= skill_bit(table, info->skills[i]);
    return bits;
}

uint64_t skill_bits_of_model(const struct skill_table *table, const struct model_info *model) {
    uint64_t bits = 0;
    for (int c = 0; c < MODEL_CAPABILITY_COUNT; c++)
        if (model->capabilities & model_capability_bit((enum model_capability)c))
            bits |= skill_bit(table, model_capability_name((enum model_capability)c));
    return bits;
}
