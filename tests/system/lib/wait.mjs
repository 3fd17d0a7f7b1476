// Waiting for something that can be observed: poll it until a deadline.

// MLX_SLOW=1: mlxd is a sanitizer build, everything takes several times as long.
const SLOWNESS = process.env.MLX_SLOW && process.env.MLX_SLOW !== '0' ? 4 : 1;

/** A time limit, in milliseconds, for this build. */
export function limit(ms) {
  return ms * SLOWNESS;
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Calls `look` every `every` ms until it gives something truthy, which is returned. Throws after `ms` (taken as it
 * is: see limit), naming `what` and what was seen last. A throw of `look` counts as "not yet".
 */
export async function until(what, ms, look, every = 15) {
  const begun = performance.now();
  for (;;) {
    let seen;
    try {
      seen = await look();
    } catch (error) {
      seen = error;
    }
    if (seen && !(seen instanceof Error)) return seen;
    if (performance.now() - begun > ms) {
      const last = seen instanceof Error ? seen.message : String(seen);
      throw new Error(`waited ${ms} ms for: ${what} (last: ${last})`);
    }
    await pause(every);
  }
}

/** How long `work` took, in milliseconds, and what it gave. */
export async function timed(work) {
  const begun = performance.now();
  const value = await work();
  return {ms: performance.now() - begun, value};
}

/** `promise`, or a throw naming `what` after `ms`. */
export async function within(what, ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
