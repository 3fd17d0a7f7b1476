#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int run_help(const struct cli_command *command, int argc, char **argv);
static int run_version(const struct cli_command *command, int argc, char **argv);

static const struct cli_command commands[] = {
    {"serve", "[options]", "everything on this machine: NATS, a controller and workers",
     "Starts a nats-server (unless --nats names one), a controller and workers, restarts what\n"
     "crashes, and takes all of it down in order on Ctrl-C or SIGTERM. Says where it listens when\n"
     "every worker is ready.",
     cli_serve},
    {"controller", "--nats URL [options]", "one controller, for a cluster of several machines",
     "Serves the OpenAI API and passes requests to the workers that are connected to the same NATS.",
     cli_controller},
    {"worker", "--nats URL [options]", "one worker, for a cluster of several machines",
     "Loads models and runs what the controllers that are connected to the same NATS send.", cli_worker},
    {"docs", "config|errors|states|yaml", "print generated documents",
     "config  every option, as Markdown\n"
     "errors  every error code, as Markdown\n"
     "states  the life of a request, as Markdown\n"
     "yaml    a configuration file with every option and its default",
     cli_docs},
    {"check-model", "PATH... [options]", "what a model file is, or what is wrong with it",
     "Prints of each GGUF file, or of all in a folder, what it is (architecture, parameters, quantization,\n"
     "context) and what memory it takes, and tries it as a worker would before it loads it. Ends with 1\n"
     "when one of them is broken. With --model-check header it is not loaded.",
     cli_check_model},
    {"devices", "", "what models can be computed on here",
     "Prints the CPU and each GPU that llama.cpp sees: the name for --devices, what it is, its memory.",
     cli_devices},
    {"load-model", "FILE [options]", NULL, "", cli_load_model},
    {"version", "", "print the version", "", run_version},
    {"help", "", "print this", "", run_help},
};

static void print_usage(FILE *out) {
    fputs("mlxd serves language models behind one OpenAI-compatible address.\n\n"
          "Usage: mlxd COMMAND [options]\n\nCommands\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].summary) /* the others are for mlxd itself */
            fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].summary);
    fputs("\nOptions of a command: mlxd COMMAND --help\n", out);
}

static int run_help(const struct cli_command *command UNUSED, int argc UNUSED, char **argv UNUSED) {
    print_usage(stdout);
    return EXIT_OK;
}

static int run_version(const struct cli_command *command UNUSED, int argc UNUSED, char **argv UNUSED) {
    printf("mlxd %s (%s)\n", MLX_VERSION, MLX_WITH_LLAMA ? "llama.cpp" : "without llama.cpp");
    return EXIT_OK;
}

static const struct cli_command *find_command(const char *name) {
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int refuse_command(const char *name) {
    const char *names[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    const char *close = config_closest_word(name, names, ARRAY_LEN(commands));
    fprintf(stderr, "mlxd: \"%.64s\" is no command", name);
    if (close)
        fprintf(stderr, "; did you mean \"%s\"?", close);
    fputs("\nSee mlxd help.\n", stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    /* Clients and pipes that go away are seen where they are written to. */
    signal(SIGPIPE, SIG_IGN);
    /* A parent may have left it ignored; then nobody could say how a child ended. */
    signal(SIGCHLD, SIG_DFL);
    const struct cli_command *command = find_command(argv[1]);
    if (!command)
        return refuse_command(argv[1]);
    return command->run(command, argc - 2, argv + 2);
}
