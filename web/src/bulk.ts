// One word to many rigs: what is picked, what it would move in megawatts by group, and then what the sites say they did.

import { get, post } from "./data";
import { h, on, patch, put, say, type Child } from "./dom";
import { count, mw, num } from "./format";
import { when } from "./times";

export interface Picked { unit_id: string; address: string }
interface UnitPreview { unit_id: string; site_id: string; site: string; rigs: number; of: number; estimated: number; drawn_mw: number | null; would_mw: number | null; against: string[] }
interface Preview { units: UnitPreview[]; rigs: number; drawn_mw: number; would_mw: number; not_known: number; lasts_s: number | null; against: string[] }
interface Said { at: number; unit_id: string; what: string; detail: string; by: string }

const WORDS: [string, string][] = [["light on", "blink"], ["light off", "stop blinking"], ["reboot", "start anew"], ["hold", "hold their groups at"]];
const ANSWERS_MS = 2000, ANSWERS_FOR = 60;

export class Bulk {
  readonly el: HTMLElement;
  private readonly lead = h("b", {});
  private readonly what = h("select", { id: "bulk-what" }, WORDS.map(([value, name]) => h("option", { value }, name)));
  private readonly share = h("input", { id: "bulk-share", type: "number", min: "0", max: "100", value: "0", required: true });
  private readonly minutes = h("input", { id: "bulk-minutes", type: "number", min: "1", max: "10080", value: "60", required: true });
  private readonly why = h("input", { id: "bulk-why", maxlength: "500", required: true, autocomplete: "off", placeholder: "for whoever reads it tomorrow" });
  private readonly by = h("input", { id: "bulk-by", maxlength: "60", required: true, autocomplete: "name", value: sessionStorage.getItem("operator") ?? "" });
  private readonly hold: HTMLElement;
  private readonly name: HTMLElement;
  private readonly said = h("p", { class: "said", role: "status" });
  private readonly box = h("div", { class: "preview" });
  private timer = 0;
  private asked = 0;

  constructor(private readonly picked: () => Picked[]) {
    this.hold = h("span", { class: "field" }, h("label", { for: "bulk-share" }, "% of their rating"), this.share, h("label", { for: "bulk-minutes" }, "for minutes"), this.minutes);
    this.name = h("span", { class: "field" }, h("label", { for: "bulk-by" }, "Your name"), this.by);
    const form = h("form", { class: "filters" }, this.lead, h("label", { for: "bulk-what" }, "Have them"), this.what, this.hold, h("label", { for: "bulk-why" }, "Why"), this.why, this.name,
      h("button", { class: "button plain", type: "submit" }, "Preview"));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      void this.preview();
    });
    for (const one of [this.what, this.share, this.minutes]) one.addEventListener("change", () => this.fit());
    void get<{ id: string | null }>("/api/me").then((me) => {
      this.name.hidden = Boolean(me.id);
      this.by.required = !me.id;
    }).catch(() => undefined);
    this.el = h("section", { class: "bulk", "aria-label": "Picked rigs", hidden: true }, form, this.said, this.box);
    this.fit();
  }

  leave(): void {
    clearInterval(this.timer);
  }

  /** What is picked has changed: a preview of what was picked before says nothing any more. */
  update(): void {
    const rigs = this.picked();
    this.el.hidden = !rigs.length && !this.box.firstChild;
    this.el.classList.toggle("panel", !this.el.hidden);
    const text = `${count(rigs.length, "rig")} picked`;
    if (this.lead.textContent === text) return;
    say(this.lead, text);
    if (this.box.querySelector("button")) put(this.box);
  }

  private fit(): void {
    this.hold.hidden = this.what.value !== "hold";
    for (const one of [this.share, this.minutes]) one.disabled = this.hold.hidden;
    put(this.box);
  }

  private form(): object {
    return { what: this.what.value, rigs: this.picked(), share: Number(this.share.value) / 100, minutes: Number(this.minutes.value), why: this.why.value, by: this.by.value };
  }

  private async preview(): Promise<void> {
    put(this.said);
    const turn = ++this.asked, form = this.form();
    try {
      const told = await post<Preview>("/api/rigs/preview", form);
      if (turn !== this.asked) return;
      const go = h("button", { class: "button", type: "button" }, this.words(told));
      on(go, "click", () => void this.send(form, go));
      put(this.box, shown(told, this.what.value), told.against.length ? h("p", { class: "bad", role: "alert" }, "Nothing is sent while this stands against it: ", told.against.slice(0, 3).join("; "), told.against.length > 3 ? `; and ${told.against.length - 3} more` : "") : h("p", { class: "acts" }, go));
      (told.against.length ? this.what : go).focus();
    } catch (error) {
      put(this.said, h("span", { class: "bad" }, (error as Error).message));
    }
  }

  private words(told: Preview): string {
    const name = this.what.value === "hold" ? `Hold ${count(told.units.length, "group")} at ${num(Number(this.share.value), 0)} %` : `Have ${count(told.rigs, "rig")} ${WORDS.find(([value]) => value === this.what.value)?.[1]}`;
    return name;
  }

  private async send(form: object, go: HTMLButtonElement): Promise<void> {
    go.disabled = true;
    sessionStorage.setItem("operator", this.by.value);
    const since = Date.now() / 1000 - 5;
    try {
      await post("/api/rigs/command", form);
      put(this.box);
      put(this.said, h("b", {}, "On record and sent. "), this.what.value === "hold" ? "Each site's page shows its hold, and ends it early." : "What the sites say of it:");
      if (this.what.value !== "hold") this.answers(since);
    } catch (error) {
      put(this.said, h("span", { class: "bad", role: "alert" }, (error as Error).message));
      go.disabled = false;
    }
  }

  /** Each rig is done one after another; what its site said of it stands here for a minute of looking. */
  private answers(since: number): void {
    clearInterval(this.timer);
    let looks = 0;
    const look = async (): Promise<void> => {
      if (++looks > ANSWERS_FOR * 1000 / ANSWERS_MS) clearInterval(this.timer);
      const { said } = await get<{ said: Said[] }>(`/api/rigs/said?since=${since}`);
      patch(this.box, said.length ? h("ul", { class: "answers" }, said.map((one) => h("li", { "data-key": `${one.at} ${one.unit_id} ${one.detail}`, class: one.what === "not done at site" ? "bad" : "" }, when(one.at), ` ${one.unit_id}: ${one.what} ${one.detail}`))) : h("p", { class: "note" }, "No answer yet."));
    };
    void look().catch(() => undefined);
    this.timer = window.setInterval(() => void look().catch(() => undefined), ANSWERS_MS);
  }
}

function shown(p: Preview, what: string): Child[] {
  const head = ["Group", "Site", "Picked", "Draws", "Would draw"];
  const lasts = p.lasts_s === null ? "" : what === "reboot" ? `for about ${num(p.lasts_s / 60, 0)} min, until their chips run` : `for ${num(p.lasts_s / 60, 0)} min`;
  const guessed = p.units.reduce((n, u) => n + u.estimated, 0);
  return [
    h("p", { class: "big" }, h("span", { class: "value" }, `${mw(p.drawn_mw)} → ${mw(p.would_mw)}`), h("span", { class: "unit" }, `${p.would_mw === p.drawn_mw ? "no power moves" : lasts}, over ${count(p.units.length, "group")}`)),
    p.not_known ? h("p", { class: "note" }, `${count(p.not_known, "group")} not heard: not in these sums.`) : null,
    guessed ? h("p", { class: "note" }, `${count(guessed, "rig")} without watts: estimated by model.`) : null,
    h("div", { class: "scroll" }, h("table", { class: "money" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, p.units.map((u) =>
      h("tr", { class: u.against.length ? "bad" : "" }, h("th", { scope: "row" }, u.unit_id), h("td", {}, h("a", { href: `/site/${u.site_id}`, "data-nav": true }, u.site)), h("td", { class: "n" }, `${num(u.rigs, 0)} of ${num(u.of, 0)}`), h("td", { class: "n" }, mw(u.drawn_mw)), h("td", { class: "n" }, mw(u.would_mw))))))),
    what === "hold" ? h("p", { class: "note" }, "A hold is of whole groups: also of their rigs that are not picked.") : null,
  ];
}
