// Chance that can be repeated: MLX_SEED=... in the environment.

export const SEED = Number(process.env.MLX_SEED ?? 42);

/** A function that gives numbers in [0, 1): the same ones for the same seed. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
