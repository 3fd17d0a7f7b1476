// What the model tiny-chat answers exactly right at temperature 0 (models/tiny-chat.md).

export const FRANCE = 'What is the capital of France?';
export const PARIS = 'The capital of France is Paris.';
/** About 120 tokens. */
export const STORY = 'Tell me a story about a fox.';

const CAPITALS = {
  France: 'Paris',
  Germany: 'Berlin',
  Japan: 'Tokyo',
  Italy: 'Rome',
  Spain: 'Madrid',
  Portugal: 'Lisbon',
  Greece: 'Athens',
  Norway: 'Oslo',
  Sweden: 'Stockholm',
  Finland: 'Helsinki',
  Denmark: 'Copenhagen',
  Poland: 'Warsaw',
  Austria: 'Vienna',
  Hungary: 'Budapest',
  Egypt: 'Cairo',
  Canada: 'Ottawa',
};

/** 16 different questions, each with its one right answer. */
export const QUESTIONS = Object.entries(CAPITALS).map(([country, city]) => ({
  question: `What is the capital of ${country}?`,
  answer: `The capital of ${country} is ${city}.`,
}));
