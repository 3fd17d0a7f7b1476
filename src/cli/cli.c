#include "cli/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

void cli_print_help(const struct cli_command *command) {
    struct buf options;
    buf_init(&options, 0);
    config_write_flags(&options);
    printf("Usage: mlxd %s %s\n\n%s\n\nOptions\n%s", command->name, command->arguments, command->text,
           options.data);
    buf_release(&options);
}

bool cli_wants_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

int cli_refuse(const struct cli_command *command, const char *message) {
    fprintf(stderr, "mlxd %s: %s\nSee mlxd %s --help.\n", command->name, message, command->name);
    return EXIT_USAGE;
}

static void leave_error(const char *text) {
    const char *path = getenv(CLI_ERROR_FILE_VARIABLE);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    /* When it does not arrive, the supervisor shows the exit code. */
    (void)!write(fd, text, strlen(text));
    close(fd);
}

int cli_read_config(const struct cli_command *command, int argc, char **argv, struct config *config) {
    struct error error = {0};
    config_init(config);
    if (cli_wants_help(argc, argv)) {
        cli_print_help(command);
        return EXIT_OK;
    }
    enum status status = config_read_flags(config, argc, argv, &error);
    if (status == STATUS_OK)
        status = config_check(config, &error);
    if (status == STATUS_OK)
        return -1;
    leave_error(error.message);
    return cli_refuse(command, error.message);
}

int cli_fail(const char *what, const struct error *error) {
    log_error(what, F_STR("reason", error->message), F_STR("code", status_name(error->status)));
    leave_error(error->message);
    return error->status == STATUS_CONFIG_INVALID ? EXIT_USAGE : EXIT_FAILED;
}
