#include "controller/link_watch.h"

void link_watch_init(struct link_watch *watch, int64_t silent_after_ms, int64_t now_ms) {
    *watch = (struct link_watch){.silent_after_ms = silent_after_ms, .well_ms = now_ms};
}

bool link_watch_is_well(const struct link_watch *watch, int64_t now_ms) {
    return !watch->down && now_ms - watch->well_ms <= watch->silent_after_ms;
}

bool link_watch_was_well(const struct link_watch *watch, int64_t since_ms, int64_t now_ms) {
    return link_watch_is_well(watch, now_ms) && (watch->troubled_ms == 0 || watch->troubled_ms < since_ms);
}

static void begin_silence(struct link_watch *watch, int64_t now_ms) {
    watch->troubled_ms = now_ms;
    if (watch->silent_since_ms == 0)
        watch->silent_since_ms = watch->well_ms;
}

static int64_t end_silence(struct link_watch *watch, int64_t now_ms) {
    if (watch->silent_since_ms == 0)
        return 0;
    int64_t silent_ms = now_ms - watch->silent_since_ms;
    watch->silent_since_ms = 0;
    watch->troubled_ms = now_ms;
    return silent_ms;
}

void link_watch_lost(struct link_watch *watch, int64_t now_ms) {
    watch->down = true;
    begin_silence(watch, now_ms);
}

int64_t link_watch_returned(struct link_watch *watch, int64_t now_ms) {
    watch->down = false;
    watch->well_ms = now_ms;
    return end_silence(watch, now_ms);
}

int64_t link_watch_heard(struct link_watch *watch, int64_t sent_ms, int64_t now_ms) {
    if (sent_ms <= watch->well_ms || sent_ms > now_ms)
        return 0;
    if (!link_watch_is_well(watch, now_ms)) /* no tick has noticed it yet */
        begin_silence(watch, now_ms);
    watch->well_ms = sent_ms;
    return link_watch_is_well(watch, now_ms) ? end_silence(watch, now_ms) : 0;
}

bool link_watch_tick(struct link_watch *watch, int64_t now_ms) {
    if (link_watch_is_well(watch, now_ms))
        return false;
    bool is_new = watch->silent_since_ms == 0;
    watch->silences += is_new;
    begin_silence(watch, now_ms);
    return is_new;
}

void link_watch_paused(struct link_watch *watch, int64_t lag_ms) {
    watch->well_ms += lag_ms;
}
