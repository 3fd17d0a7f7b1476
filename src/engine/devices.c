#include "engine/devices.h"

#include <string.h>

#include "base/buf.h"

enum { LISTED_MAX_BYTES = 320 }; /* of a message */

static void list(const struct engine_gpu *gpus, size_t count, struct buf *out) {
    buf_init(out, LISTED_MAX_BYTES);
    if (count == 0)
        buf_append_str(out, "there are none, only the CPU");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%s (%s)", i ? ", " : "there are ", gpus[i].device, gpus[i].name);
}

static enum status refuse_name(const char *name, const struct engine_gpu *gpus, size_t count,
                               struct error *error) {
    struct buf there;
    list(gpus, count, &there);
    enum status status = error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.devices",
                                   "cluster.worker.devices: there is no GPU \"%.32s\"; %s", name, there.data);
    buf_release(&there);
    return status;
}

static enum status choose_named(const struct engine_options *options, const struct engine_gpu *gpus,
                                size_t count, size_t *chosen, struct error *error) {
    for (size_t i = 0; i < options->device_count; i++) {
        size_t at = 0;
        while (at < count && strcmp(gpus[at].device, options->devices[i]) != 0)
            at++;
        if (at == count)
            return refuse_name(options->devices[i], gpus, count, error);
        chosen[i] = at;
    }
    return STATUS_OK;
}

static size_t choose_all(const struct engine_gpu *gpus, size_t count, size_t *chosen) {
    size_t used = 0;
    for (int integrated = 0; integrated <= 1 && used == 0; integrated++)
        for (size_t i = 0; i < count; i++)
            if (gpus[i].integrated == (integrated == 1))
                chosen[used++] = i;
    return used;
}

static enum status check_numbers(const struct engine_options *options, size_t count, struct error *error) {
    if (options->tensor_split_count > 0 && options->tensor_split_count != count)
        return error_set(error, STATUS_CONFIG_INVALID, "cluster.worker.tensor_split",
                         "cluster.worker.tensor_split: must have one number for each GPU that the model goes "
                         "to, which are %zu, not %zu",
                         count, options->tensor_split_count);
    if (options->main_gpu > 0 && (size_t)options->main_gpu >= count)
        return error_set(
            error, STATUS_CONFIG_INVALID, "cluster.worker.main_gpu",
            "cluster.worker.main_gpu: the model can go to %zu GPUs, counted from 0, so there is no "
            "%d",
            count, options->main_gpu);
    return STATUS_OK;
}

enum status engine_choose_devices(const struct engine_options *options, const struct engine_gpu *gpus,
                                  size_t count, size_t chosen[ENGINE_DEVICES_MAX], size_t *chosen_count,
                                  struct error *error) {
    enum status status = STATUS_OK;
    count = count < ENGINE_DEVICES_MAX ? count : ENGINE_DEVICES_MAX;
    *chosen_count = options->device_count;
    if (options->device_count == 0)
        *chosen_count = choose_all(gpus, count, chosen);
    else
        status = choose_named(options, gpus, count, chosen, error);
    return status == STATUS_OK ? check_numbers(options, *chosen_count, error) : status;
}
