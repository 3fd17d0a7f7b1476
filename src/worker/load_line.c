#include "worker/load_line.h"

void load_line_init(struct load_line *line, const struct admission_config *config, int64_t aging_ms) {
    line->handed_on = 0;
    admission_init(&line->admission, config);
    queue_init(&line->queue, aging_ms);
}

void load_line_release(struct load_line *line) {
    queue_release(&line->queue);
}

static struct job *job_of(struct queue_entry *entry) {
    return entry ? container_of(entry, struct job, waiting) : NULL;
}

bool load_line_make_room(struct load_line *line, int level, struct job **evicted) {
    struct admission_entry *entry;
    *evicted = NULL;
    if (!admission_make_room(&line->admission, level, &entry))
        return false;
    if (entry) {
        *evicted = container_of(entry, struct job, admission);
        load_line_remove(line, *evicted);
    }
    return true;
}

bool load_line_add(struct load_line *line, struct job *job, int level) {
    job->waiting.level = job->admission.level = level;
    job->waiting.since_ms = job->admission.since_ms = job->since_ms;
    job->waiting.deadline_ms = job->deadline_ms;
    if (!queue_push(&line->queue, &job->waiting))
        return false;
    admission_enter(&line->admission, &job->admission);
    return true;
}

static struct job *leave(struct load_line *line, struct job *job) {
    if (job)
        admission_leave(&line->admission, &job->admission);
    return job;
}

void load_line_remove(struct load_line *line, struct job *job) {
    queue_remove(&line->queue, &job->waiting);
    leave(line, job);
}

struct job *load_line_take(struct load_line *line, int64_t now_ms) {
    return leave(line, job_of(queue_pop(&line->queue, now_ms)));
}

struct job *load_line_take_expired(struct load_line *line, int64_t now_ms) {
    return leave(line, job_of(queue_pop_expired(&line->queue, now_ms)));
}

size_t load_line_count(const struct load_line *line) {
    return queue_count(&line->queue);
}

int64_t load_line_deadline_ms(const struct load_line *line) {
    struct heap_node *first = heap_peek(&line->queue.deadlines);
    return first ? container_of(first, struct queue_entry, by_deadline)->deadline_ms : INT64_MAX;
}

static void add_level(struct load_line *line, int level, int64_t now_ms, struct worker_load *load) {
    const struct admission_entry *entry;
    int64_t waiting = 0;
    TAILQ_FOREACH(entry, &line->admission.levels[level], link) {
        waiting++;
        if (now_ms - entry->since_ms > load->queue.oldest_ms[level])
            load->queue.oldest_ms[level] = now_ms - entry->since_ms;
    }
    load->queued += (int32_t)waiting;
    load->queue.depth[level] += waiting;
}

void load_line_add_load(struct load_line *line, int64_t now_ms, struct worker_load *load) {
    for (int level = 0; level < CHAT_PRIORITY_COUNT; level++)
        add_level(line, level, now_ms, load);
    load->queue.enqueued += line->admission.entered - line->handed_on;
    load->queue.rejected += line->admission.refused;
    load->queue.evicted += line->admission.evicted;
}
