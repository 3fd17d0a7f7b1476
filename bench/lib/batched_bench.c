#include "lib/batched_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arguments.h"
#include "lib/process.h"

enum { LIMIT_S = 600, PATH_MAX_BYTES = 4096, LINE_MAX_BYTES = 4096 };

static void give_up(const char *log) {
    fprintf(stderr, "llama-batched-bench gave no figures; see %s\n", log);
    exit(1);
}

/* The number behind `key` in a line of JSON; 0 without it. */
static double number_of(const char *line, const char *key) {
    const char *at = strstr(line, key);
    return at ? strtod(at + strlen(key), NULL) : 0;
}

/* Seconds of prompt and decoding together; 0 when the log has none. */
static double read_seconds(const char *log) {
    char line[LINE_MAX_BYTES];
    double seconds = 0;
    FILE *file = fopen(log, "r");
    while (file && fgets(line, sizeof(line), file))
        if (strstr(line, "\"t_tg\":"))
            seconds = number_of(line, "\"t_pp\":") + number_of(line, "\"t_tg\":");
    if (file)
        fclose(file);
    return seconds;
}

double batched_bench_run(const struct batched_bench_options *o) {
    char log[PATH_MAX_BYTES];
    struct arguments arguments = {0};
    struct process process;
    arguments_add(&arguments,
                  (const char *const[]){o->program, "-m", o->model, "--output-format", "jsonl", NULL});
    arguments_add_number(&arguments, "-c", o->cells);
    arguments_add_number(&arguments, "-npp", o->prompt_tokens);
    arguments_add_number(&arguments, "-ntg", o->reply_tokens);
    arguments_add_number(&arguments, "-npl", o->sequences);
    arguments_add_number(&arguments, "-t", o->threads ? o->threads : -1);
    snprintf(log, sizeof(log), "%s/llama-batched-bench.log", o->log_dir);
    process_start(&process, "llama-batched-bench", log, arguments.list);
    if (process_wait_end(&process, LIMIT_S) != 0)
        give_up(log);
    double seconds = read_seconds(log);
    if (seconds <= 0)
        give_up(log);
    return o->sequences * o->reply_tokens / seconds;
}
