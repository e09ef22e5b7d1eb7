// What a message's link opens on a phone: one incident, and one button that says somebody has it.

import { get, post, type Me } from "../data";
import { h, put, type Child } from "../dom";
import { age } from "../format";
import { when } from "../times";
import { where, type Incident } from "./alerts";

export function takePage(root: HTMLElement): () => void {
  document.title = "Take an incident · Tieline";
  const link = location.hash.slice(1), box = h("section", { class: "panel take", "aria-live": "polite" });
  const rest = h("p", {}, h("a", { href: "/alerts", "data-nav": true }, "All alerts"));
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Take an incident")), box, rest);
  const failed = (error: Error): void => put(box, h("p", { class: "bad", role: "alert" }, error.message.replace(/^link: /, "This link: ")));
  if (!link) {
    failed(new Error("Open the whole link of the message: its secret stands behind the #."));
    return () => undefined;
  }
  put(box, h("p", { class: "wait" }, "Reading…"));
  void Promise.all([post<{ now: number; incident: Incident }>("/api/alerts/link", { link }), get<Me>("/api/me")]).then(([told, me]) => put(box, card(told, me, link, box, failed))).catch(failed);
  return () => undefined;
}

function card({ now, incident: i }: { now: number; incident: Incident }, me: Me, link: string, box: HTMLElement, failed: (error: Error) => void): Child[] {
  const by = h("input", { id: "take-by", maxlength: "60", required: true, autocomplete: "name", value: sessionStorage.getItem("operator") ?? "" });
  const take = h("button", { class: "button", type: "submit" }, "I have it");
  const form = h("form", { class: "narrow" }, me.id ? null : [h("label", { for: "take-by" }, "Your name"), by], take);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    take.disabled = true;
    post("/api/alerts/take", { link, by: by.value }).then(() => {
      history.replaceState(null, "", location.pathname);
      put(box, h("p", { class: "good" }, h("b", {}, `You have it: ${i.key}.`)), h("p", { class: "note" }, "Nobody else is called for it, unless it grows worse."));
    }).catch(failed);
  });
  return [
    h("h2", { class: i.level }, h("i", { class: "health ill" }), i.key), h("p", {}, i.text),
    h("dl", {}, h("dt", {}, "Where"), h("dd", {}, where(i) || "the platform"), h("dt", {}, "Since"), h("dd", {}, when(i.first), ` (${age(now - i.first)})`), i.owner ? [h("dt", {}, "Whose"), h("dd", {}, i.owner)] : null),
    i.runbook ? h("p", {}, h("a", { href: i.runbook, rel: "noreferrer" }, "Runbook")) : null, form,
  ];
}
