#include "worker/early_cancels.h"

#include <stdio.h>
#include <string.h>

void early_cancels_add(struct early_cancels *cancels, const char *key, int64_t now_ms) {
    struct early_cancel *entry = &cancels->entries[cancels->next++ % EARLY_CANCELS_MAX];
    snprintf(entry->key, sizeof entry->key, "%s", key);
    entry->until_ms = now_ms + EARLY_CANCEL_MS;
}

bool early_cancels_take(struct early_cancels *cancels, const char *key, int64_t now_ms) {
    for (size_t i = 0; i < EARLY_CANCELS_MAX; i++) {
        struct early_cancel *entry = &cancels->entries[i];
        if (entry->until_ms > now_ms && strcmp(entry->key, key) == 0) {
            entry->until_ms = 0;
            return true;
        }
    }
    return false;
}
