#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/rng.h"
#include "engine/sampler.h"

enum { VOCAB = 6, DRAWS = 40000, BIG_VOCAB = 150000 };

/* Probabilities at temperature 1: 0.4 0.3 0.15 0.1 0.04 0.01, not in the order of the ids. */
static const double probabilities[VOCAB] = {0.1, 0.4, 0.01, 0.3, 0.04, 0.15};

static struct sampling sampling_of(double temperature) {
    return (struct sampling){.temperature = temperature, .top_p = 1, .seed = 42};
}

static void fill(float *logits) {
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)log(probabilities[i]) + 3.0f;
}

static int32_t pick(const struct sampling *params, const float *logits, int32_t vocab, uint64_t position) {
    struct sampler sampler;
    struct sampler_scratch scratch;
    float *copy = malloc((size_t)vocab * sizeof(*copy));
    assert_non_null(copy);
    memcpy(copy, logits, (size_t)vocab * sizeof(*copy));
    sampler_init(&sampler, params);
    assert_true(sampler_scratch_init(&scratch, vocab));
    int32_t token = sampler_pick(&sampler, &scratch, copy, vocab, position);
    sampler_scratch_release(&scratch);
    sampler_release(&sampler);
    free(copy);
    return token;
}

static void count_draws(const struct sampling *params, int counts[VOCAB]) {
    struct sampler sampler;
    struct sampler_scratch scratch;
    float logits[VOCAB];
    sampler_init(&sampler, params);
    assert_true(sampler_scratch_init(&scratch, VOCAB));
    fill(logits);
    memset(counts, 0, VOCAB * sizeof(*counts));
    for (uint64_t position = 0; position < DRAWS; position++) {
        int32_t token = sampler_pick(&sampler, &scratch, logits, VOCAB, position);
        assert_in_range(token, 0, VOCAB - 1);
        counts[token]++;
    }
    sampler_scratch_release(&scratch);
    sampler_release(&sampler);
}

/* Chi-square of the draws against weights (0: must never be drawn). 20.5 is its 99.9% point for 5 degrees of
 * freedom; the draws are a function of the seed, so this either always holds or never. */
static void assert_distribution(const struct sampling *params, const double weights[VOCAB]) {
    int counts[VOCAB];
    double total = 0, chi = 0;
    count_draws(params, counts);
    for (int i = 0; i < VOCAB; i++)
        total += weights[i];
    for (int i = 0; i < VOCAB; i++) {
        double expected = weights[i] / total * DRAWS;
        if (weights[i] == 0)
            assert_int_equal(counts[i], 0);
        else
            chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    assert_true(chi < 20.5);
}

static void temperature_zero_takes_the_most_likely(void **state) {
    (void)state;
    struct sampling params = sampling_of(0);
    float logits[VOCAB];
    fill(logits);
    for (uint64_t position = 0; position < 100; position++)
        assert_int_equal(pick(&params, logits, VOCAB, position), 1);
}

static void ties_go_to_the_lowest_id(void **state) {
    (void)state;
    struct sampling params = sampling_of(0);
    for (int32_t vocab = 2; vocab < 40; vocab++) {
        float logits[40];
        for (int i = 0; i < 40; i++)
            logits[i] = -2.0f;
        logits[vocab - 1] = logits[vocab / 2] = 7.0f;
        assert_int_equal(pick(&params, logits, vocab, 0), vocab / 2);
    }
    params = sampling_of(1);
    params.top_k = 1;
    float equal[VOCAB] = {1, 5, 5, 5, 5, 1};
    for (uint64_t position = 0; position < 50; position++)
        assert_int_equal(pick(&params, equal, VOCAB, position), 1);
}

static void draws_follow_the_probabilities(void **state) {
    (void)state;
    struct sampling params = sampling_of(1);
    assert_distribution(&params, probabilities);
}

/* By the definition: the first token up to which the weights sum to more than the drawn part of them all. The
 * vocabularies end inside and at the end of what is summed at a time. */
static void a_draw_falls_where_the_running_sum_passes(void **state) {
    (void)state;
    static const int32_t vocabularies[] = {16, 17, 100, 1000};
    struct sampling params = sampling_of(0.7);
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t v = 0; v < ARRAY_LEN(vocabularies); v++) {
        int32_t vocab = vocabularies[v];
        float logits[1000];
        double total = 0;
        for (int32_t i = 0; i < vocab; i++)
            logits[i] = (float)rng_below(&rng, 1000) / 200;
        for (int32_t i = 0; i < vocab; i++)
            total += exp((double)logits[i] / 0.7);
        for (uint64_t position = 0; position < 2000; position++) {
            double wanted = rng_keyed_unit(params.seed, 0, position) * total, before = 0;
            int32_t token = pick(&params, logits, vocab, position);
            for (int32_t i = 0; i < token; i++)
                before += exp((double)logits[i] / 0.7);
            double after = before + exp((double)logits[token] / 0.7);
            assert_true(wanted >= before - 1e-5 * total && wanted <= after + 1e-5 * total);
        }
    }
}

static void temperature_reshapes_them(void **state) {
    (void)state;
    static const double temperatures[] = {0.5, 0.8, 1.7};
    for (size_t t = 0; t < ARRAY_LEN(temperatures); t++) {
        struct sampling params = sampling_of(temperatures[t]);
        double weights[VOCAB];
        for (int i = 0; i < VOCAB; i++)
            weights[i] = pow(probabilities[i], 1 / temperatures[t]);
        assert_distribution(&params, weights);
    }
}

static void filters_leave_exactly_their_sets(void **state) {
    (void)state;
    static const struct {
        int32_t top_k;
        double top_p, min_p;
        double least; /* tokens of at least this probability are kept */
    } rows[] = {
        {1, 1, 0, 0.4},
        {3, 1, 0, 0.15},
        {6, 1, 0, 0.01},
        {99, 1, 0, 0.01},
        {0, 0.39, 0, 0.4},
        {0, 0.41, 0, 0.3},
        {0, 0.69, 0, 0.3},
        {0, 0.71, 0, 0.15},
        {0, 0.96, 0, 0.04},
        {0, 0, 0, 0.4},
        {0, 1, 0.2, 0.1},
        {0, 1, 0.05, 0.04},
        {0, 1, 1, 0.4},
        {0, 0.9, 0.5, 0.3},
        /* top_p is of what top_k left: 0.4 of 0.4 + 0.3 + 0.15 is 0.47, 0.7 of it 0.82. */
        {3, 0.46, 0, 0.4},
        {3, 0.81, 0, 0.3},
        {3, 0.83, 0, 0.15},
        {4, 0.99, 0.3, 0.15},
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct sampling params = sampling_of(1.3);
        params.top_k = rows[r].top_k;
        params.top_p = rows[r].top_p;
        params.min_p = rows[r].min_p;
        double weights[VOCAB];
        for (int i = 0; i < VOCAB; i++)
            weights[i] = probabilities[i] >= rows[r].least ? pow(probabilities[i], 1 / 1.3) : 0;
        assert_distribution(&params, weights);
    }
}

static void the_token_is_a_function_of_seed_and_position(void **state) {
    (void)state;
    float logits[VOCAB];
    fill(logits);
    int other_seed = 0, other_position = 0;
    for (uint64_t position = 0; position < 200; position++) {
        struct sampling params = sampling_of(1), second = sampling_of(1);
        second.seed = 43;
        int32_t token = pick(&params, logits, VOCAB, position);
        assert_int_equal(pick(&params, logits, VOCAB, position), token);
        other_seed += pick(&second, logits, VOCAB, position) != token;
        other_position += pick(&params, logits, VOCAB, position + 1) != token;
    }
    assert_true(other_seed > 50);
    assert_true(other_position > 50);
}

static void penalties_count_each_reply_token(void **state) {
    (void)state;
    struct sampling params = {.top_p = 1, .presence_penalty = 0.5, .frequency_penalty = 0.25};
    struct sampler sampler;
    struct sampler_scratch scratch;
    sampler_init(&sampler, &params);
    assert_true(sampler_scratch_init(&scratch, VOCAB));
    static const int32_t reply[] = {4, 1, 4, 4, 0, 1};
    for (size_t i = 0; i < ARRAY_LEN(reply); i++)
        assert_true(sampler_accept(&sampler, reply[i]));
    float logits[VOCAB] = {2, 2, 2.5f, 2, 3, 2};
    assert_int_equal(sampler_pick(&sampler, &scratch, logits, VOCAB, 0), 2);
    static const float after[VOCAB] = {1.25f, 1, 2.5f, 2, 1.75f, 2};
    for (int i = 0; i < VOCAB; i++)
        assert_true(logits[i] == after[i]);
    sampler_scratch_release(&scratch);
    sampler_release(&sampler);
}

static void negative_penalties_favour_repetition(void **state) {
    (void)state;
    struct sampling params = {.top_p = 1, .presence_penalty = -2};
    struct sampler sampler;
    struct sampler_scratch scratch;
    float logits[VOCAB] = {1, 2, 1, 1, 1, 1};
    sampler_init(&sampler, &params);
    assert_true(sampler_scratch_init(&scratch, VOCAB));
    assert_true(sampler_accept(&sampler, 5));
    assert_int_equal(sampler_pick(&sampler, &scratch, logits, VOCAB, 0), 5);
    sampler_scratch_release(&scratch);
    sampler_release(&sampler);
}

static void counts_of_many_tokens_stay_exact(void **state) {
    (void)state;
    enum { TOKENS = 1000 };
    struct sampling params = {.top_p = 1, .frequency_penalty = 1};
    struct sampler sampler;
    struct sampler_scratch scratch;
    float logits[TOKENS] = {0};
    int expected[TOKENS] = {0};
    struct rng rng;
    rng_seed(&rng, 7);
    sampler_init(&sampler, &params);
    assert_true(sampler_scratch_init(&scratch, TOKENS));
    for (int i = 0; i < 5000; i++) {
        int32_t token = (int32_t)rng_below(&rng, TOKENS);
        expected[token]++;
        assert_true(sampler_accept(&sampler, token));
    }
    assert_true(sampler_pick(&sampler, &scratch, logits, TOKENS, 0) >= 0);
    for (int i = 0; i < TOKENS; i++)
        assert_int_equal((int)-logits[i], expected[i]);
    sampler_scratch_release(&scratch);
    sampler_release(&sampler);
}

static void nothing_is_counted_without_penalties(void **state) {
    (void)state;
    struct sampling params = sampling_of(1);
    struct sampler sampler;
    sampler_init(&sampler, &params);
    assert_true(sampler_accept(&sampler, 3));
    assert_null(sampler.counts);
    sampler_release(&sampler);
}

/* Every path: greedy, plain, top_k, top_p, min_p, all. */
static const struct sampling paths[] = {
    {.temperature = 0, .top_p = 1},
    {.temperature = 1, .top_p = 1},
    {.temperature = 1, .top_p = 1, .top_k = 4},
    {.temperature = 1, .top_p = 0.9},
    {.temperature = 1, .top_p = 1, .min_p = 0.1},
    {.temperature = 2, .top_p = 0.95, .min_p = 0.01, .top_k = 5},
};

static void nan_is_never_chosen(void **state) {
    (void)state;
    float logits[VOCAB] = {NAN, 1, NAN, 2, -INFINITY, NAN};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        for (uint64_t position = 0; position < 300; position++) {
            int32_t token = pick(&paths[i], logits, VOCAB, position);
            assert_true(token == 1 || token == 3);
        }
    }
}

static void all_nan_gives_no_token(void **state) {
    (void)state;
    float logits[VOCAB] = {NAN, NAN, NAN, NAN, NAN, NAN};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        assert_int_equal(pick(&paths[i], logits, VOCAB, 0), SAMPLER_TOKEN_NONE);
}

static void an_infinite_logit_wins(void **state) {
    (void)state;
    float logits[VOCAB] = {5, NAN, INFINITY, 7, -INFINITY, 1};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        assert_int_equal(pick(&paths[i], logits, VOCAB, 9), 2);
}

static void only_minus_infinity_still_gives_a_token(void **state) {
    (void)state;
    float logits[VOCAB] = {NAN, -INFINITY, -INFINITY, NAN, -INFINITY, NAN};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        int32_t token = pick(&paths[i], logits, VOCAB, 3);
        assert_true(token == 1 || token == 2 || token == 4);
    }
}

static void a_tiny_temperature_is_greedy(void **state) {
    (void)state;
    struct sampling params = sampling_of(1e-300);
    float logits[VOCAB];
    fill(logits);
    for (uint64_t position = 0; position < 100; position++)
        assert_int_equal(pick(&params, logits, VOCAB, position), 1);
}

/* The quick ways of top_p and top_k through a large vocabulary against the definition. */
static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

static void a_large_vocabulary_is_cut_by_definition(void **state) {
    (void)state;
    float *logits = malloc(BIG_VOCAB * sizeof(*logits)), *sorted = malloc(BIG_VOCAB * sizeof(*sorted));
    assert_non_null(logits);
    assert_non_null(sorted);
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < BIG_VOCAB; i++)
        logits[i] =
            (float)rng_below(&rng, 1u << 24) / (1 << 20) - (float)rng_below(&rng, 1u << 24) / (1 << 21);
    memcpy(sorted, logits, BIG_VOCAB * sizeof(*sorted));
    qsort(sorted, BIG_VOCAB, sizeof(*sorted), compare_floats);
    double total = 0, mass = 0;
    for (int i = 0; i < BIG_VOCAB; i++)
        total += exp((double)(sorted[i] - sorted[0]));
    int nucleus = 0;
    while (mass < 0.6 * total)
        mass += exp((double)(sorted[nucleus++] - sorted[0]));
    struct sampling by_mass = sampling_of(1), by_rank = sampling_of(1);
    by_mass.top_p = 0.6;
    by_rank.top_k = 1000;
    float lowest_mass = INFINITY, lowest_rank = INFINITY;
    for (uint64_t position = 0; position < 100; position++) {
        float a = logits[pick(&by_mass, logits, BIG_VOCAB, position)];
        float b = logits[pick(&by_rank, logits, BIG_VOCAB, position)];
        lowest_mass = a < lowest_mass ? a : lowest_mass;
        lowest_rank = b < lowest_rank ? b : lowest_rank;
    }
    /* Never below the cut (two places for rounding), and going down to near it. */
    assert_true(lowest_mass >= sorted[nucleus + 1] && lowest_mass < sorted[nucleus / 2]);
    assert_true(lowest_rank >= sorted[999] && lowest_rank < sorted[500]);
    free(logits);
    free(sorted);
}

static void release_takes_null_and_zeroed(void **state) {
    (void)state;
    struct sampler sampler = {0};
    struct sampler_scratch scratch = {0};
    sampler_release(NULL);
    sampler_release(&sampler);
    sampler_scratch_release(NULL);
    sampler_scratch_release(&scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_zero_takes_the_most_likely),
        cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(a_draw_falls_where_the_running_sum_passes),
        cmocka_unit_test(temperature_reshapes_them),
        cmocka_unit_test(filters_leave_exactly_their_sets),
        cmocka_unit_test(the_token_is_a_function_of_seed_and_position),
        cmocka_unit_test(penalties_count_each_reply_token),
        cmocka_unit_test(negative_penalties_favour_repetition),
        cmocka_unit_test(counts_of_many_tokens_stay_exact),
        cmocka_unit_test(nothing_is_counted_without_penalties),
        cmocka_unit_test(nan_is_never_chosen),
        cmocka_unit_test(all_nan_gives_no_token),
        cmocka_unit_test(an_infinite_logit_wins),
        cmocka_unit_test(only_minus_infinity_still_gives_a_token),
        cmocka_unit_test(a_tiny_temperature_is_greedy),
        cmocka_unit_test(a_large_vocabulary_is_cut_by_definition),
        cmocka_unit_test(release_takes_null_and_zeroed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
