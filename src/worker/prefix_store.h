/* Sequences that a slot held and that had to make way, in memory, each with the tokens that it is made of: a
 * prompt that begins with them goes on where they end. Bounded in bytes; the one that was not used for
 * longest goes first.
 *
 * To copy a sequence holds everything else up. Where none of them is ever used, as in a batch run, of which
 * no prompt goes on another one, most are not copied: see prefix_store_is_worth. Belongs to the engine
 * thread; pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "engine/engine.h"
#include "worker/prefix_report.h"

struct prefix_entry {
    TAILQ_ENTRY(prefix_entry) link;
    int32_t *tokens; /* owned */
    int32_t count;
    struct engine_state state;    /* owned */
    struct prefix_blocks *blocks; /* owned; of its prompt */
    bool used;
};
TAILQ_HEAD(prefix_entry_list, prefix_entry);

struct prefix_store {
    struct prefix_report *report; /* learns of what is dropped */
    size_t bytes_max;
    size_t bytes;    /* of entries, and those that were reserved */
    size_t reserved; /* of them */
    size_t count;
    bool closed;                     /* takes nothing */
    uint64_t evicted;                /* entries, for want of room */
    double use_rate;                 /* of the entries that were added, the part that is used, lately */
    uint64_t skipped;                /* were not copied, because that was too little */
    uint64_t trial;                  /* counts those of which one in eight was copied nevertheless */
    struct prefix_entry_list by_use; /* the latest first */
};

void prefix_store_init(struct prefix_store *store, size_t bytes_max, struct prefix_report *report);
void prefix_store_release(struct prefix_store *store);

/* How many tokens two sequences have in common from their beginning on. */
int32_t prefix_common(const int32_t *a, int32_t a_count, const int32_t *b, int32_t b_count);

/* The entry that has most in common with the tokens, and how much; NULL when none has anything. */
struct prefix_entry *prefix_store_find(struct prefix_store *store, const int32_t *tokens, int32_t count,
                                       int32_t *common);
/* It was found and is used: takes it out, so that nothing can drop it meanwhile, and puts it back as the
 * latest. */
void prefix_store_take(struct prefix_store *store, struct prefix_entry *entry);
void prefix_store_put(struct prefix_store *store, struct prefix_entry *entry);
/* Is there an entry that begins with all of the tokens? */
bool prefix_store_has(struct prefix_store *store, const int32_t *tokens, int32_t count);
/* Takes state and blocks over, even if there is no room or memory for them; copies the tokens. The report
 * knows of the blocks already. Entries that are only a beginning of the new one go. */
void prefix_store_add(struct prefix_store *store, const int32_t *tokens, int32_t count,
                      struct engine_state *state, struct prefix_blocks *blocks);
/* Whether one more should be added: not while less than one in 64 is ever used; but even then one in eight,
 * so that it shows when that changes. Called once for each. */
MUST_USE bool prefix_store_is_worth(struct prefix_store *store);
/* Could there be room for so many bytes, with no entry left? */
bool prefix_store_fits(const struct prefix_store *store, size_t bytes);
/* Room for something else that is kept in memory; false: there is not so much even without entries. */
MUST_USE bool prefix_store_reserve(struct prefix_store *store, size_t bytes);
void prefix_store_unreserve(struct prefix_store *store, size_t bytes);
/* Drops all entries. */
void prefix_store_clear(struct prefix_store *store);
/* While it is closed it has no entries and takes none; what is reserved is not concerned. */
void prefix_store_close(struct prefix_store *store, bool closed);
