#include "lib/words.h"

#include "base/attr.h"
#include "base/rng.h"

static const char *const words[] = {
    "apple",  "river",  "stone",  "tiger",  "green",   "house",  "window", "garden",
    "summer", "winter", "friend", "little", "yellow",  "silver", "forest", "mountain",
    "story",  "water",  "light",  "night",  "morning", "school", "music",  "paper",
    "bread",  "table",  "horse",  "bird",   "cloud",   "north",  "south",  "market",
};

void words_append(struct buf *out, uint64_t seed, int count) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (int i = 0; i < count; i++) {
        buf_append_str(out, words[rng_below(&rng, ARRAY_LEN(words))]);
        buf_append_char(out, ' ');
    }
}
