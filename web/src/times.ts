// A moment as two people mean it: UTC, as in the records, and beside it the clock on somebody's wall.
//
// On a page of a site that is the site's own zone, elsewhere the zone of whoever looks. Where the two are one, it is said once.

import { h } from "./dom";
import { stamp } from "./format";

let site: string | null = null;

/** The zone that a page is about, for as long as it is open; null: the reader's own. */
export function zoneOf(zone: string | null): void {
  site = zone;
}

const own = (): string => site ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
const UTC = new Set(["UTC", "Etc/UTC", "Etc/GMT", "GMT", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"]);

/** "Thu 20:02 GMT+2" in `zone`, by default the reader's; empty where that is UTC. The day is told where it is another one. */
export function local(at: number, zone = own()): string {
  if (UTC.has(zone)) return "";
  const moment = new Date(at * 1000), other = dayIn(moment, zone) !== dayIn(moment, "UTC");
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...(other ? { weekday: "short" } : {}), hour: "2-digit", minute: "2-digit", timeZoneName: "short" }).format(moment).replace(",", "");
}

const dayIn = (moment: Date, zone: string): string => new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(moment);

/** The same in brackets, to stand behind "UTC" in a sentence. */
export function beside(at: number): string {
  const there = local(at);
  return there ? ` (${there})` : "";
}

/** UTC to the second, and the local clock in small. */
export function when(at: number): HTMLElement {
  const seconds = Math.round(at), there = local(seconds);
  return h("time", { datetime: new Date(seconds * 1000).toISOString(), class: "when" }, stamp(seconds), there ? h("small", { class: "local" }, ` ${there}`) : null);
}
