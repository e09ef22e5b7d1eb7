// What waits for a second person: read it, say yes or no; and proposing something that needs one.

import { feed, get, post, type Overview, type Site } from "../data";
import { h, headRow, on, patch, put, type Child } from "../dom";
import { age, mw } from "../format";
import { when } from "../times";

interface Step { says: string; by: string; at: number; why: string }
interface Proposal {
  id: string; what: string; target: string; before: string; after: string; why: string; by: string; person: boolean; at: number; until: number;
  state: string; lacks: number; digest: string; steps: Step[]; cannot_approve: string | null; can_reject: boolean; can_withdraw: boolean;
}
interface Listed { now: number; proposals: Proposal[]; may_propose: string[]; sites: string[] }

const KINDS: Record<string, string> = { sale: "Coin sale", act: "Acting without asking", invoice: "Invoice" };

export function approvalsPage(root: HTMLElement): () => void {
  document.title = "Approvals · Tieline";
  const said = h("p", { role: "status", class: "said" }), box = h("div", { class: "approvals" }), form = h("div", {}), rest = h("div", {}), waiting = h("div", {});
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Approvals"),
    h("p", { class: "note" }, "A coin sale, a site that acts without asking and an invoice's issue each need two people. Nobody counts twice.")), said, waiting, box, form, rest);
  const plans = new Waiting(waiting, (path, data) => act(path, data));
  const unfollow = feed.follow((o) => plans.update(o));
  const show = (): void => void get<Listed>("/api/approvals").then((l) => {
    patch(box, openOnes(l, act));
    // Made once: what somebody is typing stays.
    if (l.may_propose.length && !form.firstChild) put(form, proposeForm(l, act));
    patch(rest, decided(l, act));
  }).catch((e: Error) => tell(e.message, true));
  const tell = (text: string, bad = false): void => {
    said.className = bad ? "said bad" : "said";
    put(said, text);
  };
  const act = (path: string, data: object): void => {
    post<object>(path, data).then(() => {
      tell("On record.");
      // The record comes back through the store.
      setTimeout(show, 300);
    }).catch((e: Error) => {
      tell(e.message, true);
      show();
    });
  };
  show();
  const again = setInterval(show, 10_000);
  return () => {
    clearInterval(again);
    unfollow();
  };
}

/** Advised plans that need somebody: what each would change in megawatts, picked and confirmed together as they were read. */
class Waiting {
  private told = "";
  private signedIn = false;
  private readonly left = new Set<string>();

  constructor(private readonly el: HTMLElement, private readonly act: Act) {
    void get<{ id: string | null }>("/api/me").then((me) => { this.signedIn = Boolean(me.id); }).catch(() => undefined);
  }

  update(o: Overview): void {
    const ids = new Set(o.attention.filter((a) => a.what === "needs somebody").map((a) => a.site_id));
    const sites = o.sites.filter((s) => ids.has(s.id) && s.plan_seq !== null);
    const text = JSON.stringify(sites.map((s) => [s.id, s.plan_seq]));
    if (text === this.told) return;
    this.told = text;
    this.draw(sites);
  }

  private draw(sites: Site[]): void {
    if (!sites.length) {
      patch(this.el);
      return;
    }
    const picked = sites.filter((s) => !this.left.has(s.id));
    const drawn = picked.reduce((n, s) => n + (s.drawn_mw ?? 0), 0), asked = picked.reduce((n, s) => n + (s.asked_mw ?? 0), 0);
    const rows = sites.map((s) => {
      const box = h("input", { type: "checkbox", checked: !this.left.has(s.id), "aria-label": `Confirm ${s.name}` });
      on(box, "change", (e) => {
        if ((e.target as HTMLInputElement).checked) this.left.delete(s.id);
        else this.left.add(s.id);
        this.draw(sites);
      });
      return h("tr", { "data-key": s.id }, h("td", {}, box), h("th", { scope: "row" }, h("a", { href: `/site/${s.id}`, "data-nav": true }, s.name)), h("td", { class: "n" }, mw(s.drawn_mw)), h("td", { class: "n" }, mw(s.asked_mw)), h("td", {}, h("a", { class: "ref", href: `/records/${s.plan_seq}`, "data-nav": true }, `#${s.plan_seq}`)));
    });
    patch(this.el, h("section", { class: "panel waiting", "aria-label": "Plans that need somebody" }, h("h2", {}, `${sites.length === 1 ? "A plan needs" : `${sites.length} plans need`} somebody`),
      h("p", { class: "big" }, h("span", { class: "value" }, `${mw(drawn)} → ${mw(asked)}`), h("span", { class: "unit" }, `over ${picked.length} of ${sites.length} sites`)),
      h("div", { class: "scroll" }, h("table", { class: "money" }, h("thead", {}, h("tr", {}, ["", "Site", "Draws", "Would draw", "Plan"].map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))), h("tbody", {}, rows))),
      h("div", { class: "acts" }, this.signedIn ? null : [h("label", { class: "sr", for: "confirm-by" }, "Your name, where nobody signs in"), h("input", { id: "confirm-by", maxlength: "60", autocomplete: "name", placeholder: "your name" })],
        button("Confirm these together", true, () => this.act("/api/confirm/all", { plans: picked.map((s) => ({ site_id: s.id, plan_seq: s.plan_seq })), by: document.querySelector<HTMLInputElement>("#confirm-by")?.value ?? "" })))));
  }
}

type Act = (path: string, data: object) => void;

function openOnes(l: Listed, act: Act): Child[] {
  const open = l.proposals.filter((p) => p.state === "open");
  return open.length ? open.map((p) => card(p, l.now, act)) : [h("section", { class: "panel" }, h("p", {}, h("b", {}, "Nothing waits for a second person.")))];
}

function decided(l: Listed, act: Act): Child {
  const rest = l.proposals.filter((p) => p.state !== "open");
  if (!rest.length) return null;
  return h("section", { class: "panel" }, h("h2", {}, "Decided"), h("div", { class: "scroll" }, h("table", { class: "audit" },
    headRow(["What", "Outcome", "Who", "When"]),
    h("tbody", {}, rest.map((p) => h("tr", { "data-key": p.id }, h("td", {}, p.after, " ", h("small", {}, `${KINDS[p.what] ?? p.what} · ${p.target}`)), h("td", {}, p.state, p.state === "approved" ? revoke(p, act) : null),
      h("td", {}, people(p)), h("td", {}, when(p.steps.at(-1)?.at ?? p.until))))))));
}

const people = (p: Proposal): string => [`${p.by} proposed`, ...p.steps.map((s) => `${s.by} ${s.says}`)].join("; ");

/** Until it is done an approval can be taken back. */
function revoke(p: Proposal, act: Act): Child {
  if (!p.can_reject && !p.can_withdraw) return null;
  return [" ", button(p.can_withdraw ? "Withdraw" : "Take back", false, () => {
    if (confirm(`No longer: ${p.after}?`)) act(p.can_withdraw ? "/api/approvals/withdraw" : "/api/approvals/reject", { proposal_id: p.id, digest: p.digest });
  })];
}

function button(name: string, main: boolean, go: () => void): HTMLElement {
  const el = h("button", { class: main ? "button" : "button plain", type: "button" }, name);
  on(el, "click", go);
  return el;
}

function card(p: Proposal, now: number, act: Act): HTMLElement {
  const say = (word: string): void => act(`/api/approvals/${word}`, { proposal_id: p.id, digest: p.digest });
  return h("section", { class: "panel approval", "aria-label": p.after, "data-key": p.id },
    h("h2", {}, `${KINDS[p.what] ?? p.what}: ${p.after}`),
    h("dl", {},
      h("dt", {}, "Now"), h("dd", {}, p.before || "–"), h("dt", {}, "Then"), h("dd", {}, p.after), h("dt", {}, "Why"), h("dd", {}, p.why),
      h("dt", {}, "Proposed"), h("dd", {}, `by ${p.by}${p.person ? "" : " (a rule, so two people are needed)"}, ${age(now - p.at)}`),
      h("dt", {}, "Said"), h("dd", {}, p.steps.length ? p.steps.map((s) => `${s.by}: ${s.says}${s.why ? ` (${s.why})` : ""}`).join("; ") : "nothing yet"),
      h("dt", {}, "Lapses"), h("dd", {}, when(p.until))),
    h("div", { class: "acts" }, p.cannot_approve ? h("p", { class: "note" }, p.cannot_approve.replace(/^by: /, "")) : button("Approve", true, () => say("approve")),
      p.can_withdraw ? button("Withdraw", false, () => say("withdraw")) : p.can_reject ? button("Reject", false, () => say("reject")) : null));
}

function proposeForm(l: Listed, act: Act): HTMLElement {
  const what = h("select", { id: "propose-what" }, l.may_propose.map((one) => h("option", { value: one }, KINDS[one] ?? one)));
  const target = h("input", { id: "propose-target", required: true, autocomplete: "off", spellcheck: "false", list: "propose-sites" });
  const after = h("input", { id: "propose-after", autocomplete: "off", maxlength: "500" }), why = h("input", { id: "propose-why", required: true, autocomplete: "off", maxlength: "500" });
  const afterRow = h("div", { class: "field" }, h("label", { for: "propose-after" }, "What is to be done"), after), label = h("label", { for: "propose-target" }, "");
  const fit = (): void => {
    const act = what.value === "act";
    afterRow.hidden = act;
    after.required = !act;
    put(label, act ? "Site" : what.value === "invoice" ? "Tenant and month, as in: acme 2026-05" : "Place of the coins, as in: Treasury");
  };
  what.addEventListener("change", fit);
  fit();
  const form = h("form", { class: "panel narrow" }, h("h2", {}, "Propose"), h("label", { for: "propose-what" }, "What needs two people"), what, label, target,
    h("datalist", { id: "propose-sites" }, l.sites.map((id) => h("option", { value: id }))), afterRow, h("label", { for: "propose-why" }, "Why"), why, h("button", { class: "button", type: "submit" }, "Propose"));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    act("/api/approvals/propose", { what: what.value, target: target.value.trim(), after: after.value, why: why.value });
  });
  return form;
}
