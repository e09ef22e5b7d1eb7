// What stands open and who has it; what was delivered, and what could not be.

import { get, post } from "../data";
import { h, headRow, on, patch, put, type Child } from "../dom";
import { age } from "../format";
import { when } from "../times";

export interface Incident { key: string; level: string; text: string; places: string[]; state: string; first: number; opened: number | null; ended: number | null; acknowledged_by: string; flaps: number; owner?: string; runbook?: string }
interface Listed {
  now: number; open: Incident[]; ended: Incident[]; silences: { what: string; until: number; by: string; why: string }[];
  messages: { channel: string; made: number; words: string; tries: number; ended: number | null; error: string }[]; more_messages: number;
}

const EVERY_MS = 2500;

export function alertsPage(root: HTMLElement): () => void {
  document.title = "Alerts · Tieline";
  const open = h("div", {}), rest = h("div", { class: "people" }), said = h("p", { class: "said", role: "status" });
  const name = h("input", { id: "alerts-by", autocomplete: "name", maxlength: "60", value: sessionStorage.getItem("operator") ?? "", placeholder: "where nobody is signed in" });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Alerts"), h("p", { class: "note" }, "One trouble is one incident, at however many sites. Taking one stops its escalation.")),
    h("form", { class: "filters" }, h("label", { for: "alerts-by" }, "Your name"), name), said, h("section", { class: "panel", "aria-label": "Open" }, open), rest);
  let told = "";
  const act = (path: string, data: object): void => {
    sessionStorage.setItem("operator", name.value);
    void post(path, { ...data, by: name.value }).then(() => put(said, "Recorded."), (error: Error) => put(said, error.message)).then(show);
  };
  const show = (): void => {
    get<Listed>("/api/alerts").then((l) => {
      // Drawn anew only where something changed, so that focus and selection stay.
      const text = JSON.stringify([l.open, l.ended, l.silences, l.messages]);
      if (text === told) return;
      told = text;
      patch(open, h("h2", {}, l.open.length ? "Open" : "Nothing stands open"), table(["", "What", "Where", "Since", "Who has it", ""], l.open.map((i) => openRow(i, l.now, act))));
      patch(rest, ...others(l));
    }).catch((error: Error) => put(said, error.message));
  };
  show();
  const timer = setInterval(show, EVERY_MS);
  return () => clearInterval(timer);
}

const table = (heads: string[], rows: Child[]): Child => (rows.length ? h("div", { class: "scroll" }, h("table", { class: "audit incidents" }, headRow(heads), h("tbody", {}, rows))) : null);
export const where = (i: Incident): string => (i.places.length > 4 ? `${i.places.slice(0, 4).join(", ")} and ${i.places.length - 4} more` : i.places.join(", "));

function openRow(i: Incident, now: number, act: (path: string, data: object) => void): Child {
  const take = h("button", { class: "button plain", type: "button" }, "I have it"), hush = h("button", { class: "button plain", type: "button" }, "Silence 1 h");
  on(take, "click", () => act("/api/alerts/take", { key: i.key }));
  on(hush, "click", () => {
    const why = prompt(`Why is nothing sent of "${i.key}" for an hour?`);
    if (why) act("/api/alerts/silence", { what: i.key, minutes: 60, why });
  });
  return h("tr", { "data-key": i.key }, h("td", { class: i.level }, h("i", { class: "health ill" }), i.level), h("td", {}, h("b", {}, i.key), " ", h("small", {}, i.text), i.runbook ? [" ", h("a", { href: i.runbook, rel: "noreferrer" }, "Runbook")] : null), h("td", {}, where(i)), h("td", {}, age(now - i.first)),
    h("td", {}, i.acknowledged_by || [h("span", { class: "bad" }, "nobody"), i.owner ? h("small", {}, ` yet; it is for ${i.owner}`) : null]), h("td", { class: "acts" }, i.state === "open" ? take : null, " ", hush));
}

function others(l: Listed): Child[] {
  return [
    l.silences.length ? h("section", { class: "panel" }, h("h2", {}, "Silenced"), table(["What", "Until", "By", "Why"], l.silences.map((s) => h("tr", {}, h("td", {}, s.what), h("td", {}, when(s.until)), h("td", {}, s.by), h("td", { class: "detail" }, s.why))))) : null,
    h("section", { class: "panel" }, h("h2", {}, "Messages"), l.messages.length ? null : h("p", { class: "note" }, "None yet. Channels stand in the configuration: [[alerts.channel]]; try one with tieline alerts test."),
      table(["Made", "To", "What", "Delivered"], l.messages.map((m) => h("tr", { "data-key": `${m.made} ${m.channel} ${m.words}` }, h("td", {}, when(m.made)), h("td", {}, m.channel), h("td", {}, m.words), h("td", { class: m.error ? "bad" : "" }, m.error ? `${m.ended === null ? "waiting" : "given up"} after ${m.tries}: ${m.error}` : m.ended === null ? "waiting" : age(l.now - m.ended))))),
      l.more_messages ? h("p", { class: "note" }, `${l.more_messages} older ones`) : null),
    l.ended.length ? h("section", { class: "panel" }, h("h2", {}, "Over"), table(["What", "Where", "From", "To"], l.ended.map((i) => h("tr", { "data-key": `${i.key} ${i.first}` }, h("td", {}, i.key), h("td", {}, where(i)), h("td", {}, when(i.first)), h("td", {}, i.ended === null ? "" : when(i.ended)))))) : null,
  ];
}
