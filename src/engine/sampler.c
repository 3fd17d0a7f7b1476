#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* The loops over the whole vocabulary are written to become vector code, which gcc makes at -O2 only where it
 * costs no code at all. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("O3")
#endif

bool sampler_scratch_init(struct sampler_scratch *scratch, int32_t vocab) {
    size_t n = vocab > 0 ? (size_t)vocab : 1;
    scratch->candidates = malloc(n * sizeof(*scratch->candidates));
    scratch->weights = malloc(n * sizeof(*scratch->weights));
    scratch->vocab = vocab;
    if (scratch->candidates && scratch->weights)
        return true;
    sampler_scratch_release(scratch);
    return false;
}

void sampler_scratch_release(struct sampler_scratch *scratch) {
    if (!scratch)
        return;
    free(scratch->candidates);
    free(scratch->weights);
    *scratch = (struct sampler_scratch){0};
}

void sampler_init(struct sampler *sampler, const struct sampling *params) {
    *sampler = (struct sampler){.params = *params};
}

void sampler_release(struct sampler *sampler) {
    if (!sampler)
        return;
    free(sampler->counts);
    *sampler = (struct sampler){0};
}

static bool has_penalties(const struct sampling *params) {
    return params->presence_penalty != 0 || params->frequency_penalty != 0;
}

/* Index of the first entry whose token is not below `token`. */
static size_t counts_lower_bound(const struct sampler *sampler, int32_t token) {
    size_t low = 0, high = sampler->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (sampler->counts[mid].token < token)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool sampler_accept(struct sampler *sampler, int32_t token) {
    if (!has_penalties(&sampler->params))
        return true;
    size_t at = counts_lower_bound(sampler, token);
    if (at < sampler->count && sampler->counts[at].token == token) {
        sampler->counts[at].count++;
        return true;
    }
    if (sampler->count == sampler->cap) {
        size_t cap = sampler->cap ? sampler->cap * 2 : 64;
        struct sampler_count *counts = realloc(sampler->counts, cap * sizeof(*counts));
        if (!counts)
            return false;
        sampler->counts = counts;
        sampler->cap = cap;
    }
    memmove(&sampler->counts[at + 1], &sampler->counts[at], (sampler->count - at) * sizeof(*sampler->counts));
    sampler->counts[at] = (struct sampler_count){.token = token, .count = 1};
    sampler->count++;
    return true;
}

static void apply_penalties(const struct sampler *sampler, float *logits, int32_t vocab) {
    for (size_t i = 0; i < sampler->count; i++) {
        const struct sampler_count *entry = &sampler->counts[i];
        if (entry->token < 0 || entry->token >= vocab)
            continue;
        double penalty = sampler->params.presence_penalty + sampler->params.frequency_penalty * entry->count;
        logits[entry->token] = (float)(logits[entry->token] - penalty);
    }
}

/* So that differences of logits are numbers; NaN stays, and is left out by comparisons that are false. */
#define LOGIT_LIMIT (FLT_MAX / 4)
static float clamp_logit(float logit) {
    float low = logit > LOGIT_LIMIT ? LOGIT_LIMIT : logit;
    return low < -LOGIT_LIMIT ? -LOGIT_LIMIT : low;
}

/* The largest logit, -inf when there is none but NaN. Several running maxima, so that the loop is not one
 * chain of comparisons. */
enum { MAX_LANES = 16 };
static float max_of(const float *logits, int32_t count) {
    float max[MAX_LANES];
    int32_t i = 0;
    for (int lane = 0; lane < MAX_LANES; lane++)
        max[lane] = -INFINITY;
    for (; i + MAX_LANES <= count; i += MAX_LANES)
        for (int lane = 0; lane < MAX_LANES; lane++)
            max[lane] = logits[i + lane] > max[lane] ? logits[i + lane] : max[lane];
    for (; i < count; i++)
        max[0] = logits[i] > max[0] ? logits[i] : max[0];
    for (int lane = 1; lane < MAX_LANES; lane++)
        max[0] = max[lane] > max[0] ? max[lane] : max[0];
    return max[0];
}

static bool all_nan(const float *logits, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        if (!isnan(logits[i]))
            return false;
    return true;
}

static int32_t first_equal(const float *logits, int32_t vocab, float value) {
    for (int32_t i = 0; i < vocab; i++)
        if (logits[i] == value)
            return i;
    return SAMPLER_TOKEN_NONE;
}

/* e^x for EXP_MIN <= x <= 0, relative error below 5e-6, and 0 near EXP_MIN: 2^(n + f) with n put into the
 * exponent's bits and a polynomial for 2^f. Plain arithmetic in a loop of fixed length is what compilers turn
 * into vector code; calls of expf() would take most of the time of a draw from 150,000 tokens. */
#define EXP_MIN (-87.0f)
enum { EXP_BLOCK = 16 };
static void exp_block(const float *x, float *out) {
    for (int i = 0; i < EXP_BLOCK; i++) {
        float scaled = x[i] * 1.44269504f;
        int32_t n = (int32_t)(scaled - 0.5f); /* rounds to nearest: the argument is never positive */
        float f = (scaled - (float)n) * 0.693147181f;
        float p = 0.0083333333f + f * 0.0013888889f;
        p = 1.0f + f * (1.0f + f * (0.5f + f * (0.16666667f + f * (0.041666667f + f * p))));
        uint32_t bits = n > -126 ? (uint32_t)(n + 127) << 23 : 0;
        float power;
        memcpy(&power, &bits, sizeof(power));
        out[i] = p * power;
    }
}

/* weights[i] = e^((logits[i] - max) * scale) for a block, 0 for NaN. */
static inline void block_weights(const float *logits, float max, float scale, float *weights) {
    float x[EXP_BLOCK];
    for (int i = 0; i < EXP_BLOCK; i++) {
        float distance = (clamp_logit(logits[i]) - max) * scale;
        x[i] = distance > EXP_MIN ? distance : EXP_MIN; /* NaN too */
    }
    exp_block(x, weights);
}

/* The vocabulary's last block may be short. */
static const float *block_logits(const float *logits, int32_t vocab, int32_t block, float *filled) {
    int32_t first = block * EXP_BLOCK;
    if (vocab - first >= EXP_BLOCK)
        return &logits[first];
    for (int32_t i = 0; i < EXP_BLOCK; i++)
        filled[i] = first + i < vocab ? logits[first + i] : NAN;
    return filled;
}

static int32_t block_count(int32_t vocab) {
    return (vocab + EXP_BLOCK - 1) / EXP_BLOCK;
}

/* sums[block] = the weights of a block together; returns the sum of them all. The weights themselves are not
 * kept: a draw needs those of one block only, and computing that again costs less than writing them all. */
static double fill_sums(const float *logits, int32_t vocab, float max, float scale, float *sums) {
    double total = 0;
    for (int32_t block = 0; block < block_count(vocab); block++) {
        float filled[EXP_BLOCK], e[EXP_BLOCK], parts[EXP_BLOCK / 4];
        block_weights(block_logits(logits, vocab, block, filled), max, scale, e);
        for (int i = 0; i < EXP_BLOCK / 4; i++)
            parts[i] = (e[i] + e[i + 4]) + (e[i + 8] + e[i + 12]);
        sums[block] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        total += (double)sums[block];
    }
    return total;
}

/* The index where the running sum passes `*left`, which becomes what was left when that index was reached.
 * Rounding may leave the sum just short of it: then the last one that has a weight. */
static int32_t draw(const float *weights, int32_t count, double *left) {
    double here = *left;
    int32_t last = 0;
    for (int32_t i = 0; i < count; i++) {
        if (weights[i] <= 0.0f)
            continue;
        last = i;
        *left = here;
        here -= (double)weights[i];
        if (here < 0)
            return i;
    }
    return last;
}

static int32_t draw_from_all(const float *logits, int32_t vocab, float max, float scale, float *sums,
                             double unit) {
    float filled[EXP_BLOCK], weights[EXP_BLOCK];
    double left = unit * fill_sums(logits, vocab, max, scale, sums);
    int32_t block = draw(sums, block_count(vocab), &left);
    block_weights(block_logits(logits, vocab, block, filled), max, scale, weights);
    return block * EXP_BLOCK + draw(weights, EXP_BLOCK, &left);
}

static bool is_before(const struct sampler_candidate *a, const struct sampler_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sift_down(struct sampler_candidate *heap, int32_t count, int32_t at) {
    struct sampler_candidate moving = heap[at];
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void heap_order(struct sampler_candidate *heap, int32_t count) {
    for (int32_t at = count / 2; at-- > 0;)
        sift_down(heap, count, at);
}

/* Those with a logit of at least `least` become a heap with the most likely first. */
static int32_t heap_fill(struct sampler_candidate *heap, const float *logits, int32_t vocab, float least) {
    int32_t count = 0;
    for (int32_t i = 0; i < vocab; i++) {
        float logit = clamp_logit(logits[i]);
        if (logit >= least)
            heap[count++] = (struct sampler_candidate){.logit = logit, .token = i};
    }
    heap_order(heap, count);
    return count;
}

/* Pops until `limit` are taken or their mass reaches `mass_wanted`; what is popped gathers, most likely
 * first, at the end of the array, backwards. Returns how many. */
static int32_t heap_take(struct sampler_candidate *heap, int32_t count, int32_t limit, float max,
                         double mass_wanted) {
    double mass = 0;
    int32_t taken = 0;
    while (taken < limit && taken < count && mass < mass_wanted) {
        int32_t end = count - 1 - taken;
        struct sampler_candidate top = heap[0];
        heap[0] = heap[end];
        heap[end] = top;
        sift_down(heap, end, 0);
        mass += exp((double)(top.logit - max));
        taken++;
    }
    return taken;
}

static void reverse(struct sampler_candidate *candidates, int32_t count) {
    for (int32_t i = 0, j = count - 1; i < j; i++, j--) {
        struct sampler_candidate swap = candidates[i];
        candidates[i] = candidates[j];
        candidates[j] = swap;
    }
}

/* A logit that at least `k` tokens reach, near the k-th largest: the k-th largest of the maxima of parts. So
 * what is put into the heap is a few times k and not the vocabulary. */
static float reached_by(int32_t k, struct sampler_scratch *scratch, const float *logits, int32_t vocab) {
    struct sampler_candidate *heap = scratch->candidates;
    int32_t len = vocab / 4 / k, count = 0;
    if (len < 8)
        return -INFINITY;
    for (int32_t i = 0; i < vocab; i += len, count++) {
        float max = max_of(&logits[i], vocab - i < len ? vocab - i : len);
        heap[count] = (struct sampler_candidate){.logit = clamp_logit(max), .token = count};
    }
    heap_order(heap, count);
    heap_take(heap, count, k, 0, INFINITY);
    return heap[count - k].logit;
}

/* How many of the sorted candidates are needed for `top_p` of the mass of them all. */
static int32_t cut_top_p(const struct sampler_candidate *sorted, int32_t count, float max, double top_p) {
    double total = 0, mass = 0;
    for (int32_t i = 0; i < count; i++)
        total += exp((double)(sorted[i].logit - max));
    for (int32_t i = 0; i < count; i++) {
        mass += exp((double)(sorted[i].logit - max));
        if (mass >= top_p * total)
            return i + 1;
    }
    return count;
}

/* What top_k and top_p leave, most likely first; *out points into the scratch. */
static int32_t keep_likeliest(const struct sampling *params, struct sampler_scratch *scratch,
                              const float *logits, int32_t vocab, float max, struct sampler_candidate **out) {
    float least = -INFINITY;
    double mass_wanted = INFINITY;
    bool by_mass = params->top_k <= 0;
    if (by_mass) {
        /* Whatever has less than (1 - top_p) / vocab of the mass cannot all together fill the part that top_p
         * drops, so it is never kept; leaving it out makes the heap small. */
        double total = fill_sums(logits, vocab, max, 1.0f, scratch->weights);
        mass_wanted = params->top_p * total;
        double tail = (1.0 - params->top_p) * total / vocab;
        least = max + (float)log(tail) - 1e-3f;
    } else {
        least = reached_by(params->top_k, scratch, logits, vocab);
    }
    int32_t count = heap_fill(scratch->candidates, logits, vocab, least);
    int32_t limit = by_mass || params->top_k > count ? count : params->top_k;
    int32_t taken = heap_take(scratch->candidates, count, limit, max, mass_wanted);
    if (taken == 0) /* top_p 0 */
        taken = heap_take(scratch->candidates, count, 1, max, INFINITY);
    struct sampler_candidate *sorted = scratch->candidates + (count - taken);
    reverse(sorted, taken);
    if (!by_mass && params->top_p < 1)
        taken = cut_top_p(sorted, taken, max, params->top_p);
    *out = sorted;
    return taken;
}

/* Candidates that are at least min_p times as likely as the likeliest, which is first. */
static int32_t cut_min_p(struct sampler_candidate *candidates, int32_t count, double min_p) {
    float least = candidates[0].logit + (float)log(min_p);
    int32_t kept = 0;
    for (int32_t i = 0; i < count; i++)
        if (i == 0 || candidates[i].logit >= least)
            candidates[kept++] = candidates[i];
    return kept;
}

static int32_t draw_candidate(const struct sampler_candidate *candidates, int32_t count, float max,
                              float scale, float *weights, double unit) {
    double total = 0;
    for (int32_t i = 0; i < count; i++) {
        weights[i] = expf((candidates[i].logit - max) * scale);
        total += (double)weights[i];
    }
    double left = unit * total;
    return candidates[draw(weights, count, &left)].token;
}

int32_t sampler_pick(const struct sampler *sampler, struct sampler_scratch *scratch, float *logits,
                     int32_t vocab, uint64_t position) {
    const struct sampling *params = &sampler->params;
    apply_penalties(sampler, logits, vocab);
    float top = max_of(logits, vocab);
    if (top == -INFINITY && all_nan(logits, vocab))
        return SAMPLER_TOKEN_NONE;
    if (params->temperature <= 0)
        return first_equal(logits, vocab, top);
    float max = clamp_logit(top);
    /* Below this the draw is the most likely token, and 1/temperature is still a number. */
    float scale = (float)(1.0 / (params->temperature < 1e-6 ? 1e-6 : params->temperature));
    double unit = rng_keyed_unit(params->seed, 0, position);
    if (params->top_k <= 0 && params->top_p >= 1 && params->min_p <= 0)
        return draw_from_all(logits, vocab, max, scale, scratch->weights, unit);
    struct sampler_candidate *kept;
    int32_t count;
    if (params->top_k <= 0 && params->top_p >= 1) {
        kept = scratch->candidates;
        count = heap_fill(kept, logits, vocab, max + (float)log(params->min_p));
    } else {
        count = keep_likeliest(params, scratch, logits, vocab, max, &kept);
    }
    if (params->min_p > 0)
        count = cut_min_p(kept, count, params->min_p);
    return draw_candidate(kept, count, max, scale, scratch->weights, unit);
}
