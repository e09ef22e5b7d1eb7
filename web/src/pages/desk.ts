// The desk: candidates that wait for a person. A key decides each: a accepts, c corrects, r rejects, u takes back.

import { get, post } from "../data";
import { h, put } from "../dom";
import { words } from "../format";
import { panel } from "../panels";

interface Waiting {
  id: string; issuer: string; period: string; field: string; scope: string | null; value: number; shown: string; unit: string; quote: string; printed: string;
  missing: string[]; why: string; source: string; source_kind: string; published: string | null; book: string[];
}
interface Decision { at: string; who: string; action: string; target: string; reason: string }
interface DeskView { count: number; waiting: Waiting[]; decisions: Decision[]; alerts: string[] }

const NAME = "tieline.name", SETTLES_MS = 1500;

/** The desk's panel; `changed` is called after each decision, since ranks and sums change with it. */
export function deskPanel(changed: () => void): { el: HTMLElement; load: () => Promise<void>; withdraw: (claim: string, reason: string) => Promise<void> } {
  const who = h("input", { id: "desk-who", placeholder: "Your name", maxlength: "60", "aria-label": "Your name", value: localStorage.getItem(NAME) ?? "" });
  who.addEventListener("change", () => localStorage.setItem(NAME, who.value.trim()));
  const said = h("p", { class: "said note", role: "status" }), list = h("div", { class: "desk-list" }), log = h("ul", { class: "desk-log" }), alerts = h("ul", { class: "desk-alerts" });
  const made = panel("The desk", "Candidates lack a licence: they are in no rank, sum or check until you accept them", null, "full", h("div", { class: "filters" }, h("label", { for: "desk-who" }, "You are"), who), alerts, list, said, log);

  let settling: ReturnType<typeof setTimeout> | undefined;
  const decide = async (action: string, target: string, more: Record<string, string | null> = {}): Promise<void> => {
    try {
      await post("/api/disclosures/desk", { action, target, by: who.value.trim(), ...more });
      put(said, `${action}: ${target}`);
      await load();
      clearTimeout(settling);
      settling = setTimeout(changed, SETTLES_MS); // ranks and sums once a row of decisions has ended
    } catch (error) {
      put(said, h("span", { class: "bad" }, (error as Error).message));
    }
  };

  const item = (w: Waiting): HTMLElement => {
    const value = h("input", { class: "desk-value", value: w.shown, "aria-label": `Value of ${w.field} ${w.period}` });
    const reason = h("input", { class: "desk-reason", placeholder: "Reason", "aria-label": "Reason" });
    const button = (name: string, act: () => void): HTMLElement => {
      const made = h("button", { type: "button", class: "button plain", "data-act": name.toLowerCase() }, name);
      made.addEventListener("click", act);
      return made;
    };
    const row = h("article", { class: "claim desk-item", tabindex: "0", "data-candidate": w.id },
      h("p", {}, h("b", {}, `${w.issuer} ${w.period}`), ` ${words(w.field)} `, value, ` ${w.unit} `, w.missing.map((m) => h("span", { class: "tag" }, `missing ${m}`)), h("span", { class: "tag" }, words(w.source_kind)), w.book.length ? h("span", { class: "tag" }, `in the book: ${w.book.slice(0, 2).join(", ")}`) : null),
      w.quote ? h("blockquote", {}, w.quote) : null,
      h("p", { class: "note" }, `${w.why}. ${w.published ?? "No date"}, `, /^https?:\/\//.test(w.source) ? h("a", { href: w.source, rel: "noopener noreferrer", target: "_blank" }, w.source) : w.source),
      h("p", { class: "filters" },
        button("Accept", () => void decide(value.value === w.shown ? "accept" : "correct", w.id, value.value === w.shown ? {} : { value: value.value })),
        button("Reject", () => void decide("reject", w.id, { reason: reason.value || "not what the text says" })), reason));
    row.addEventListener("keydown", (e) => {
      if (e.target !== row) return;
      if (e.key === "a") void decide("accept", w.id);
      else if (e.key === "c") value.focus();
      else if (e.key === "r") void decide("reject", w.id, { reason: reason.value || "not what the text says" });
    });
    return row;
  };

  const load = async (): Promise<void> => {
    const v = await get<DeskView>("/api/disclosures/desk");
    put(made.note, `${v.count} wait. Candidates lack a licence: they are in no rank, sum or check until you accept them. Keys: a accepts, c corrects, r rejects.`);
    put(alerts, v.alerts.map((a) => h("li", {}, a)));
    put(list, v.waiting.length ? v.waiting.map(item) : h("p", { class: "wait" }, "Nothing waits."));
    put(log, [...v.decisions].reverse().slice(0, 30).map((d) => {
      const back = h("button", { type: "button", class: "quiet" }, "take back");
      back.addEventListener("click", () => void decide("restore", d.target));
      return h("li", {}, `${d.at.slice(0, 16).replace("T", " ")} ${d.who} ${d.action} ${d.target} ${d.reason} `, d.action === "restore" ? null : back);
    }));
    (list.querySelector<HTMLElement>(".desk-item"))?.focus({ preventScroll: true });
  };
  return { el: made.el, load, withdraw: (claim, reason) => decide("withdraw", claim, { reason }) };
}
