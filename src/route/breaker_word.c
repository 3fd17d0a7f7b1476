#include "route/breaker_word.h"

void breaker_stamp(struct breaker *breaker, int64_t stamp, bool by_operator) {
    breaker->stamp = stamp;
    if (by_operator)
        breaker->operator_stamp = stamp;
}

void breaker_tell(const struct breaker *breaker, int64_t now_ms, struct breaker_word *word) {
    *word = (struct breaker_word){.state = breaker->state,
                                  .operator_stamp = breaker->operator_stamp,
                                  .stamp = breaker->stamp,
                                  .remaining_ms = breaker_remaining_ms(breaker, now_ms),
                                  .openings = breaker->openings,
                                  .last_failure = breaker->last_failure};
}

bool breaker_word_ejects(const struct breaker_word *word) {
    return word->state == BREAKER_OPEN || word->state == BREAKER_HALF_OPEN;
}

/* For words with equal stamps: those of the beginning, when one controller has seen a restart and another one
 * has not. OPEN and HALF_OPEN are one word at different times. */
static int rank(enum breaker_state state) {
    return state == BREAKER_HALF_OPEN ? BREAKER_OPEN : (int)state;
}

static enum breaker_weight weigh(int64_t ours, int64_t theirs) {
    return theirs > ours ? BREAKER_WORD_NEWER : theirs < ours ? BREAKER_WORD_OLDER : BREAKER_WORD_SAME;
}

enum breaker_weight breaker_weigh(const struct breaker *breaker, const struct breaker_word *word) {
    enum breaker_weight weight = weigh(breaker->operator_stamp, word->operator_stamp);
    if (weight == BREAKER_WORD_SAME)
        weight = weigh(breaker->stamp, word->stamp);
    if (weight == BREAKER_WORD_SAME)
        weight = weigh(rank(breaker->state), rank(word->state));
    return weight;
}

bool breaker_adopt(struct breaker *breaker, const struct breaker_word *word, int64_t now_ms) {
    enum breaker_state before = breaker->state;
    bool operator_said_it = word->operator_stamp > 0 && word->operator_stamp == word->stamp;
    breaker->operator_stamp = word->operator_stamp;
    breaker->stamp = word->stamp;
    breaker->openings = word->openings;
    if (word->state == BREAKER_OPEN)
        breaker_open_until(breaker, word->remaining_ms, now_ms);
    else if (word->state != before || operator_said_it)
        breaker_become(breaker, word->state, breaker_is_ejected(breaker) && !operator_said_it, now_ms);
    if (breaker_word_ejects(word) && word->last_failure != STATUS_OK) {
        breaker->last_failure = word->last_failure;
        breaker->last_failure_ms = now_ms;
    }
    return breaker->state != before;
}
