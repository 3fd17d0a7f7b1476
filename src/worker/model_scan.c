/* While a look is under way its thread writes `next`, and both threads may read `files`; the loop thread
 * takes `next` over when the thread has said that it is done, and writes only before the next look. */
#include "worker/model_scan.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/chan.h"
#include "base/log.h"
#include "worker/model_folder.h"

enum { NS_PER_S = 1000000000 };

struct file_list {
    struct model_file *items; /* owned */
    size_t count;
    size_t cap;
    bool complete;
};

struct model_scan {
    const struct config *config;
    struct loop_timer timer;
    struct chan *done; /* owned; the thread says that it is */
    struct loop_watch *watch;
    loop_fn *on_scan;
    void *arg;
    pthread_t thread;
    bool runs;
    struct file_list files;
    struct file_list next;
};

bool model_stamp_read(const char *path, struct model_stamp *out) {
    struct stat st;
    *out = (struct model_stamp){0};
    if (stat(path, &st) != 0)
        return false;
    *out = (struct model_stamp){.device = st.st_dev,
                                .inode = st.st_ino,
                                .size = st.st_size,
                                .changed_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec};
    return true;
}

bool model_stamp_is_same(const struct model_stamp *a, const struct model_stamp *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_ns == b->changed_ns;
}

static void release(struct file_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].path);
    free(list->items);
    *list = (struct file_list){0};
}

static struct model_file *find(const struct file_list *list, const char *path) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].path, path) == 0)
            return &list->items[i];
    }
    return NULL;
}

/* On the scan's thread. */

static bool reserve(struct file_list *list) {
    if (list->count < list->cap)
        return true;
    size_t cap = list->cap ? 2 * list->cap : 16;
    struct model_file *items = realloc(list->items, cap * sizeof *items);
    if (!items)
        return false;
    list->items = items;
    list->cap = cap;
    return true;
}

static void read_header(const struct config *config, struct model_file *file) {
    struct error error;
    file->settled = true;
    file->sound = model_facts_read(config, file->path, &file->facts, &error) == STATUS_OK;
    if (!file->sound)
        log_warn("a new or changed model file is left alone", F_STR("path", file->path),
                 F_STR("reason", error.message));
}

/* false: it could not be looked at, or there is no memory. */
static bool add(struct model_scan *scan, const char *path) {
    struct model_file file = {.path = NULL};
    const struct model_file *before = find(&scan->files, path);
    if (find(&scan->next, path)) /* it is in two of the folders */
        return true;
    if (!model_stamp_read(path, &file.stamp))
        return errno == ENOENT || errno == ENOTDIR; /* it has just gone */
    bool same = before && model_stamp_is_same(&before->stamp, &file.stamp);
    if (same && before->settled)
        file = *before;
    file.path = reserve(&scan->next) ? strdup(path) : NULL;
    if (!file.path)
        return false;
    struct model_file *kept = &scan->next.items[scan->next.count++];
    *kept = file;
    if (same && !kept->settled)
        read_header(scan->config, kept);
    return true;
}

static bool look_into(struct model_scan *scan, const char *path) {
    struct model_folder folder;
    struct error error;
    bool all = model_folder_list(path, &folder, &error) == STATUS_OK;
    if (!all)
        log_warn("a folder of models cannot be read", F_STR("reason", error.message));
    else if (folder.unsure)
        log_warn("not all of a folder of models could be looked at", F_STR("folder", path));
    all = all && !folder.unsure;
    for (size_t i = 0; i < folder.count; i++)
        all = add(scan, folder.paths[i]) && all;
    model_folder_release(&folder);
    return all;
}

static void *look(void *arg) {
    struct model_scan *scan = arg;
    const struct config_list *folders = &scan->config->worker.model_dirs;
    scan->next.complete = true;
    for (size_t i = 0; i < folders->count; i++)
        scan->next.complete = look_into(scan, folders->items[i]) && scan->next.complete;
    if (!chan_push(scan->done, scan)) /* it has room for the one that there is */
        abort();
    return NULL;
}

/* Loop thread. */

static void arm(struct model_scan *scan) {
    loop_timer_arm(&scan->timer, scan->config->worker.model_scan_interval_ms);
}

/* Signals are the loop thread's alone. Without a thread now there will be another time. */
static void on_timer(void *arg) {
    struct model_scan *scan = arg;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    scan->runs = pthread_create(&scan->thread, NULL, look, scan) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!scan->runs)
        arm(scan);
}

static void on_done(void *arg) {
    struct model_scan *scan = arg;
    void *item;
    if (chan_take(scan->done, &item, 1, 0) == 0)
        return;
    pthread_join(scan->thread, NULL);
    scan->runs = false;
    release(&scan->files);
    scan->files = scan->next;
    scan->next = (struct file_list){0};
    arm(scan);
    scan->on_scan(scan->arg);
}

struct model_scan *model_scan_new(const struct config *config, struct loop *loop, loop_fn *on_scan,
                                  void *arg) {
    struct model_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return NULL;
    scan->config = config;
    scan->on_scan = on_scan;
    scan->arg = arg;
    scan->done = chan_new(1, true);
    if (scan->done)
        scan->watch = loop_watch_fd(loop, chan_fd(scan->done), on_done, scan);
    if (!scan->watch || !loop_timer_init(&scan->timer, loop, on_timer, scan)) {
        model_scan_free(scan);
        return NULL;
    }
    arm(scan);
    return scan;
}

void model_scan_free(struct model_scan *scan) {
    if (!scan)
        return;
    if (scan->runs)
        pthread_join(scan->thread, NULL);
    if (scan->watch)
        loop_unwatch(scan->watch);
    chan_free(scan->done, NULL);
    loop_timer_release(&scan->timer);
    release(&scan->files);
    release(&scan->next);
    free(scan);
}

struct model_file *model_scan_files(struct model_scan *scan, size_t *count) {
    *count = scan->files.count;
    return scan->files.items;
}

struct model_file *model_scan_find(struct model_scan *scan, const char *path) {
    return find(&scan->files, path);
}

bool model_scan_is_complete(const struct model_scan *scan) {
    return scan->files.complete;
}
