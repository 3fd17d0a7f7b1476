/* mlxd docs: the documents that are made from tables. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "controller/controller.h"
#include "proto/worker_info.h"

static const char *outcome_name(enum outcome outcome) {
    switch (outcome) {
    case OUTCOME_SUCCESS:
        return "success";
    case OUTCOME_WORKER_FAILURE:
        return "failure of the worker";
    case OUTCOME_MODEL_FAILURE:
        return "failure of the model there";
    case OUTCOME_NEUTRAL:
        return "neutral";
    }
    return "";
}

static const char errors_opening[] =
    "# Errors\n\n"
    "Made by `mlxd docs errors` from the table in `src/base/status.h`; edit that, not this page.\n\n"
    "An error is answered in OpenAI's shape, an object `error` with `message`, `type`, `param` and `code`,\n"
    "which is the first column; two codes are written as OpenAI's clients know them, `model_not_found` and\n"
    "`context_length_exceeded`. Beside them: `retryable` (the column *retried*), `timestamp` (milliseconds\n"
    "since 1970) and `context`, an object with the numbers of the request: `requestId`, `model`, "
    "`elapsedMs`,\n"
    "`waitedMs`, `timeoutMs` and `tries`, each with `worker`, `code` and `durationMs`; empty for calls that\n"
    "did not become a request. *Retried*: the controller tries another worker before the client sees the\n"
    "error. *Counts as*: what it says about the health of the worker that had the job.\n\n"
    "| code | HTTP | type | retried | counts as | meaning |\n"
    "|---|---|---|---|---|---|\n";

static const char errors_closing[] =
    "\n## Other names\n\n"
    "What is called otherwise elsewhere:\n\n"
    "| elsewhere | here |\n"
    "|---|---|\n"
    "| `QUEUE_FULL` | `WORKER_OVERLOADED`; `CONTROLLER_OVERLOADED` when the controller's waiting room is "
    "full |\n"
    "| `QUEUE_TIMEOUT` | `DEADLINE_EXCEEDED`; when the limit of the wait (`queue.timeoutMs`) comes first, "
    "what kept the workers from the request, mostly `WORKER_OVERLOADED` |\n"
    "| `BATCH_FAILED` | `ENGINE_ERROR` |\n"
    "| `BATCH_TIMEOUT` | `WORKER_TIMEOUT`; `ALL_RETRIES_EXHAUSTED` when it was not the only try |\n"
    "| `MEMORY_LIMIT_EXCEEDED` | `RESOURCE_LIMIT_EXCEEDED` |\n";

static void write_errors(struct buf *out) {
    buf_append_str(out, errors_opening);
    for (int i = STATUS_OK + 1; i < STATUS_COUNT; i++) {
        enum status status = (enum status)i;
        buf_printf(out, "| `%s` | %d | %s | %s | %s | %s |\n", status_name(status), status_http(status),
                   status_api_type(status), status_is_retryable(status) ? "yes" : "no",
                   outcome_name(status_outcome(status)), status_text(status));
    }
    buf_append_str(out, errors_closing);
}

static void write_states(struct buf *out) {
    controller_write_states(out);
    buf_append_str(out,
                   "\n# Phases of a worker\n\nFrom `src/proto/worker_info.h`; in this order, from each to "
                   "draining, and back when it is told to resume.\n\n| phase | meaning |\n|---|---|\n");
    for (int i = 0; i < WORKER_PHASE_COUNT; i++) {
        enum worker_phase phase = (enum worker_phase)i;
        buf_printf(out, "| `%s` | %s |\n", worker_phase_name(phase), worker_phase_meaning(phase));
    }
    buf_append_str(out, "\n# States of a model on a worker\n\nAlso from `src/proto/worker_info.h`.\n\n"
                        "| state | meaning |\n|---|---|\n");
    for (int i = 0; i < MODEL_STATE_COUNT; i++) {
        enum model_state state = (enum model_state)i;
        buf_printf(out, "| `%s` | %s |\n", model_state_name(state), model_state_meaning(state));
    }
}

static const struct {
    const char *topic;
    void (*write)(struct buf *out);
} documents[] = {
    {"config", config_write_reference},
    {"errors", write_errors},
    {"states", write_states},
    {"yaml", config_write_example},
};

static int print_document(void (*write_to)(struct buf *out)) {
    struct buf text;
    buf_init(&text, 0);
    write_to(&text);
    bool written = !text.failed && fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    buf_release(&text);
    return written ? EXIT_OK : EXIT_FAILED;
}

int cli_docs(const struct cli_command *command, int argc, char **argv) {
    if (cli_wants_help(argc, argv)) {
        printf("Usage: mlxd docs %s\n\n%s\n", command->arguments, command->text);
        return EXIT_OK;
    }
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(documents); i++) {
        if (strcmp(documents[i].topic, argv[0]) == 0)
            return print_document(documents[i].write);
    }
    return cli_refuse(command, "one of config, errors, states and yaml is expected");
}
