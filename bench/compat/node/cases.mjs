// Cases of one client by their names; each is told as a line of JSON.

export const URL = process.env.TIELINE_URL; // ends in /v1
export const REAL = process.env.TIELINE_REAL; // a small model on a real engine
export const REAL_CUT = process.env.TIELINE_REAL_CUT; // the same; its connections are cut once within each answer
export const SENSE = "scripted"; // a scripted engine, for cases that ask for sense
export const CUT = "cut"; // the same; its engines die once within each answer
export const LOST = "lost"; // the same; they die within each answer, always
export const HEARD = "I heard 'hello'; I am scripted.";
export const ASK = "What is the price in 'ERCOT'?";

export function same(found, wanted, what = "") {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${what} ${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
  }
}

export function holds(condition, what) {
  if (!condition) throw new Error(String(what));
}

/** The words of the error that `work` has to end in. */
export async function told(work) {
  let found;
  try {
    found = await work();
  } catch (error) {
    return String(error).slice(0, 200);
  }
  throw new Error(`it ended as if all were well: ${JSON.stringify(found)}`.slice(0, 300));
}

export async function main(cases) {
  const wanted = (process.env.TIELINE_CASES ?? "").split(",").filter(Boolean);
  for (const name of wanted.length ? wanted : Object.keys(cases)) {
    try {
      const note = await cases[name]();
      console.log(JSON.stringify({ name, ok: true, note: note ?? "" }));
    } catch (error) {
      console.log(JSON.stringify({ name, ok: false, note: `${error?.stack ?? error}`.slice(0, 600) }));
    }
  }
  process.exit(0); // whatever keeps a connection
}
