/* mlxd's subcommands and what they share.
 *
 * Exit codes: 0 ended in order, 1 something failed, 2 the command line or the configuration is wrong. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct cli_command {
    const char *name;
    const char *arguments;                                                /* for the usage line */
    const char *summary;                                                  /* one line */
    const char *text;                                                     /* for its help */
    int (*run)(const struct cli_command *command, int argc, char **argv); /* without program and subcommand */
};

int cli_serve(const struct cli_command *command, int argc, char **argv);
int cli_controller(const struct cli_command *command, int argc, char **argv);
int cli_worker(const struct cli_command *command, int argc, char **argv);
int cli_check_model(const struct cli_command *command, int argc, char **argv);
int cli_devices(const struct cli_command *command, int argc, char **argv);
int cli_load_model(const struct cli_command *command, int argc, char **argv);
int cli_docs(const struct cli_command *command, int argc, char **argv);

/* Prints usage, text and options. */
void cli_print_help(const struct cli_command *command);
bool cli_wants_help(int argc, char **argv);
/* Prints the message and where help is; returns EXIT_USAGE. */
int cli_refuse(const struct cli_command *command, const char *message);

/* Fills `config` from flags and file and checks it. Returns -1 to go on, or the exit code after --help or a
 * mistake; `config` is to be released in any case. */
MUST_USE int cli_read_config(const struct cli_command *command, int argc, char **argv, struct config *config);

/* Where a supervised process leaves the reason of its failure for the supervisor: the file that this variable
 * of the environment names. */
#define CLI_ERROR_FILE_VARIABLE "MLXD_ERROR_FILE"
/* Logs why the process cannot go on and returns the exit code: EXIT_USAGE when it is the configuration. */
int cli_fail(const char *what, const struct error *error);

/* Adds the default model when none is configured, and makes sure that every model is a file that can be read
 * (the fake engine needs none) and that the fake engine knows the fault it is to have. CONFIG_INVALID. */
MUST_USE enum status cli_find_models(struct config *config, struct error *error);
