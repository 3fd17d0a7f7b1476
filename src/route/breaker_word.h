/* What controllers tell each other about a breaker, and what one makes of another's word. Pure.
 *
 * Each breaker carries the stamps (route/stamp.h) of the word that its state comes from. A change that a
 * controller makes by itself, or an operator through it, is a new word (breaker_stamp); a change by time
 * alone (OPEN to HALF_OPEN) or by a restart of the worker, which everybody sees, is none. Of two words the
 * newer one counts, an operator's before all others: they are ordered by the operator's stamp that they rest
 * on, then by their own stamp. So in whatever order words arrive, however often, whoever has heard the newest
 * one has its state, and nobody answers an equal word: two controllers never talk each other back and forth.
 *
 *   a change here       breaker_stamp; then the word goes out (breaker_tell)
 *   a word comes        of the worker's incarnation that is known here, else it is about a process that is
 *                       gone or not known yet. breaker_weigh: NEWER: breaker_adopt, unless it would eject a
 *                       worker and the caller's rule forbids that; OLDER: the sender has missed something,
 *                       tell it; SAME: nothing. */
#pragma once

#include "route/breaker.h"

struct breaker_word {
    enum breaker_state state;
    int64_t operator_stamp; /* 0: no operator has spoken */
    int64_t stamp;          /* 0: as it began; equal to operator_stamp: the operator's own word */
    int64_t remaining_ms;   /* of the time OPEN */
    int64_t openings;       /* in a row */
    enum status last_failure;
};

enum breaker_weight { BREAKER_WORD_OLDER, BREAKER_WORD_SAME, BREAKER_WORD_NEWER };

/* The state as it is now is a new word of this controller, or of an operator who spoke to it. */
void breaker_stamp(struct breaker *breaker, int64_t stamp, bool by_operator);
void breaker_tell(const struct breaker *breaker, int64_t now_ms, struct breaker_word *word);
enum breaker_weight breaker_weigh(const struct breaker *breaker, const struct breaker_word *word);
/* Takes a NEWER word over. CLOSED after OPEN or HALF_OPEN starts slowly, unless an operator said it. Tickets
 * given out are late from then on if the state has changed, which is returned. */
bool breaker_adopt(struct breaker *breaker, const struct breaker_word *word, int64_t now_ms);
/* OPEN or HALF_OPEN: adopting it takes a worker away. */
bool breaker_word_ejects(const struct breaker_word *word);
