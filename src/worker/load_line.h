/* The jobs that wait for one model to be loaded. As many may wait as would be inside if it were ready, and
 * who gives way when they are too many is decided as it is there (src/worker/admission.h); who goes in first
 * is the queue's decision (src/worker/queue.h).
 *
 * All of it is the loop thread's; time is an argument. The jobs are the caller's. */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "proto/worker_info.h"
#include "worker/admission.h"
#include "worker/job.h"
#include "worker/queue.h"

struct load_line {
    struct admission admission;
    struct queue queue;
    int64_t handed_on; /* jobs that came to the model */
};

/* It must not move afterwards. `aging_ms` > 0. */
void load_line_init(struct load_line *line, const struct admission_config *config, int64_t aging_ms);
void load_line_release(struct load_line *line); /* nobody waits; takes zeroed structs */

/* Is there room for one of this level, or can it be made? `*evicted` becomes NULL or the job that has given
 * way: it is out of the line. */
MUST_USE bool load_line_make_room(struct load_line *line, int level, struct job **evicted);
/* Right after load_line_make_room. false: no memory, the job is not inside. */
MUST_USE bool load_line_add(struct load_line *line, struct job *job, int level);
void load_line_remove(struct load_line *line, struct job *job);
/* Out of the line: the one whose turn it is; one whose deadline is reached. NULL: there is none. */
struct job *load_line_take(struct load_line *line, int64_t now_ms);
struct job *load_line_take_expired(struct load_line *line, int64_t now_ms);

size_t load_line_count(const struct load_line *line);
int64_t load_line_deadline_ms(const struct load_line *line); /* the earliest; INT64_MAX: nobody waits */
/* Adds those that wait, and how many came and went. */
void load_line_add_load(struct load_line *line, int64_t now_ms, struct worker_load *load);
