#include "worker/notices.h"

#include <stdint.h>
#include <stdlib.h>

bool notices_init(struct notices *notices, size_t max) {
    *notices = (struct notices){.all = calloc(max, sizeof(struct notice)), .max = max};
    for (size_t i = 0; notices->all && i < max; i++)
        notices_give_back(notices, &notices->all[i]);
    return notices->all != NULL;
}

void notices_release(struct notices *notices) {
    free(notices->all);
    *notices = (struct notices){0};
}

struct notice *notices_find(const struct notices *notices, const void *item) {
    uintptr_t first = (uintptr_t)notices->all;
    size_t offset = (size_t)((uintptr_t)item - first); /* huge for what lies before */
    return offset < notices->max * sizeof(struct notice) ? &notices->all[offset / sizeof(struct notice)]
                                                         : NULL;
}

struct notice *notices_take(struct notices *notices) {
    struct notice *notice = notices->free;
    if (notice)
        notices->free = notice->next;
    return notice;
}

void notices_give_back(struct notices *notices, struct notice *notice) {
    notice->next = notices->free;
    notices->free = notice;
}

/* The exchanges pair up: a flag that was set before one that found the notice under way is seen by whoever
 * reads it. */
bool notice_must_be_sent(struct notice *notice) {
    return !atomic_exchange_explicit(&notice->sent, true, memory_order_acq_rel);
}

struct job *notice_read(struct notice *notice) {
    atomic_exchange_explicit(&notice->sent, false, memory_order_acq_rel);
    return notice->job;
}
