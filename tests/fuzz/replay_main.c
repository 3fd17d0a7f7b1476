/* Runs a fuzz target without libFuzzer: once over every file of the folders named on the command line, so
 * that the corpus and all old crashes (tests/fuzz/regression) are part of every test run, with any compiler.
 *
 * A folder that does not exist counts as empty, but a run that finds no file at all fails: it proved nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns 1 when the file was run, 0 when it is not a regular file, -1 when it could not be read. */
static int replay_file(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return -1;
    if (!S_ISREG(st.st_mode))
        return 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    size_t size = (size_t)st.st_size;
    /* Exactly the size of the file, so that the address sanitizer sees a read past its end. */
    uint8_t *data = malloc(size ? size : 1);
    bool read = data && fread(data, 1, size, file) == size;
    fclose(file);
    if (read) {
        fprintf(stderr, "%s (%zu bytes)\n", path, size);
        LLVMFuzzerTestOneInput(data, size);
    }
    free(data);
    return read ? 1 : -1;
}

/* Returns how many files were run, or -1. */
static int replay_folder(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? 0 : -1;
    int count = 0;
    struct dirent *entry;
    while (count >= 0 && (entry = readdir(dir))) {
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path)
            continue;
        int ran = replay_file(path);
        if (ran < 0)
            fprintf(stderr, "cannot read %s\n", path);
        count = ran < 0 ? -1 : count + ran;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv) {
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);
        if (count < 0) {
            fprintf(stderr, "cannot replay %s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        total += count;
    }
    printf("replayed %d files\n", total);
    if (total == 0)
        fprintf(stderr, "no input found: put at least one file into tests/fuzz/corpus/<target>\n");
    return total == 0;
}
