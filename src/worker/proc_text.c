#include "worker/proc_text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool proc_read(const char *path, char *out, size_t cap) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    ssize_t n = 1;
    while (n > 0 && len + 1 < cap) {
        n = read(fd, out + len, cap - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    out[len] = '\0';
    return n >= 0;
}

/* `*end` is behind the number. */
static bool take_number(const char *text, const char **end, int64_t *out) {
    text += strspn(text, " \t");
    if (!isdigit((unsigned char)*text))
        return false;
    char *behind;
    errno = 0;
    long long value = strtoll(text, &behind, 10);
    *end = behind;
    *out = value;
    return errno == 0;
}

bool proc_number(const char *text, const char *key, int64_t *out) {
    size_t len = strlen(key);
    const char *end;
    while (text) {
        if (strncmp(text, key, len) == 0 && (text[len] == ' ' || text[len] == '\t'))
            return take_number(text + len, &end, out);
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return false;
}

bool proc_only_number(const char *text, int64_t *out) {
    const char *end;
    return take_number(text, &end, out) && end[strspn(end, " \t\n")] == '\0';
}
