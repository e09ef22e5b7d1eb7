"use strict";
// The page of one site: asks its agent every two seconds, and says so when the agent does not answer.

const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);
let open = null; // the group whose rigs are shown
let first = 0;
let timer = 0;
let told = 0;

async function call(path, body) {
  const ask = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", "x-tieline": "1" },
  };
  const answer = await fetch(path, { ...ask, signal: AbortSignal.timeout(8000) });
  const said = await answer.json();
  if (answer.status === 401 && path !== "/api/login") { show(false); throw new Error("sign in again"); }
  if (!answer.ok) throw new Error(said.error || `the agent answered ${answer.status}`);
  return said;
}

function power(watts) {
  if (watts === null || watts === undefined) return "not known";
  if (Math.abs(watts) >= 1e6) return `${(watts / 1e6).toFixed(3)} MW`;
  return Math.abs(watts) >= 1e4 ? `${(watts / 1e3).toFixed(1)} kW` : `${watts.toFixed(0)} W`;
}

function hashrate(hs) {
  if (hs === null || hs === undefined) return "–";
  return hs >= 1e15 ? `${(hs / 1e15).toFixed(2)} PH/s` : `${(hs / 1e12).toFixed(1)} TH/s`;
}

function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 90) return `${Math.max(0, seconds).toFixed(0)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function clock(moment) {
  return new Date(moment).toISOString().slice(0, 16).replace("T", " ") + " UTC";
}

function node(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function show(signedIn) {
  $("login").hidden = signedIn;
  $("page").hidden = !signedIn;
  if (!signedIn) { clearTimeout(timer); $("password").focus(); }
}

function drawHead(site) {
  document.title = `${site.name} · Tieline site`;
  $("name").textContent = site.name;
  const link = { up: "link up", away: "link away: plan and orders hold here", revoked: "revoked: the platform takes this site no longer" };
  const facts = $("facts");
  facts.replaceChildren(node("b", site.site_id), ` · ${site.mode} · `, node("span", link[site.link], site.link === "up" ? "good" : "bad"));
  facts.append(site.plan ? ` · plan ${age(site.plan.age_s)} old, valid until ${clock(site.plan.valid_until)}` : " · no plan holds");
  $("meter").textContent = site.meter ? power(site.meter.power_w) : "no meter";
  $("meter-age").textContent = site.meter ? `${age(site.meter.age_s)} ago` : "";
  const known = site.units.filter((one) => one.power_w !== null);
  $("sum").textContent = known.length ? power(known.reduce((sum, one) => sum + one.power_w, 0)) : "not known";
  const lacking = site.units.length - site.units.filter((one) => one.heard).length;
  $("sum-age").textContent = lacking ? `${lacking} of ${site.units.length} not heard` : "all heard";
  $("sum-age").className = lacking ? "bad" : "muted";
  $("limit").textContent = power(site.limit_w);
  $("limit-why").textContent = site.short_w > 0 ? `${power(site.short_w)} above it cannot be shed` : "";
  $("limit-why").className = site.short_w > 0 ? "bad" : "muted";
  $("waiting").textContent = site.waiting;
}

/** Gives each cell the name of its column, which a narrow screen shows beside it. */
function named(row, table) {
  const heads = $(table).closest("table").querySelectorAll("th");
  [...row.cells].forEach((cell, n) => { cell.dataset.name = heads[n].textContent; });
  return row;
}

function drawUnits(site) {
  $("units").replaceChildren(...site.units.map((one) => {
    const row = node("tr");
    const name = node("td");
    if (one.rigs) {
      const button = node("button", one.unit_id, "plain");
      button.type = "button";
      button.addEventListener("click", () => { open = one.unit_id; first = 0; drawRigs(); });
      name.append(button);
    } else name.append(one.unit_id);
    if (one.model) name.append(node("div", one.model + (one.kind === "simulated" ? ", simulated" : ""), "muted"));
    const heard = one.devices === null ? "–" : `${one.devices_heard ?? 0} of ${one.devices}`;
    row.append(
      name, node("td", power(one.power_w), one.heard ? "n" : "n bad"), node("td", one.wanted_w === null ? "as it is" : power(one.wanted_w), "n"),
      node("td", heard, "n"), node("td", hashrate(one.hashrate_hs), "n"), node("td", age(one.age_s), "n"),
      node("td", one.silent || one.why || "", one.silent ? "words bad" : "words"),
    );
    return named(row, "units");
  }));
}

function drawOrders(site) {
  const rows = site.orders.map((one) => {
    const row = node("div", undefined, "order");
    const what = one.unit_id ? `${one.unit_id} at ${power(one.limit_w)}` : `the site at most ${power(one.limit_w)}`;
    const words = node("p");
    words.append(node("b", one.kind), ` ${what} until ${clock(one.until)}`, node("br"),
      node("span", `${one.by}${one.why ? ": " + one.why : ""} · ${age(one.age_s)} ago`, "muted"));
    row.append(words);
    if (one.local) {
      const lift = node("button", "Resume", "plain");
      lift.type = "button";
      lift.addEventListener("click", () => act("/api/resume", { by: $("stop-by").value, unit_id: one.unit_id }, "Resumed; rigs start in waves."));
      row.append(lift);
    }
    return row;
  });
  $("orders").replaceChildren(...(rows.length ? rows : [node("p", "No grid order, no override, no stop.", "muted")]));
}

function drawStop(site) {
  const groups = site.units.filter((one) => one.mining).map((one) => one.unit_id);
  const select = $("stop-unit");
  const wanted = ["All rigs of the site", ...groups].join("\n");
  if (select.dataset.groups !== wanted) {
    select.dataset.groups = wanted;
    select.replaceChildren(new Option("All rigs of the site", ""), ...groups.map((one) => new Option(one, one)));
  }
  $("stop-form").hidden = !site.may_stop || !groups.length;
  $("may-not").hidden = site.may_stop;
}

function drawFaults(site) {
  $("faults-panel").hidden = !site.faults.length;
  $("faults").replaceChildren(...site.faults.map((one) => {
    const row = node("li");
    row.append(node("b", one.what), `: ${one.detail}`);
    return row;
  }));
}

function tendCell(unit, rig) {
  const cell = node("td");
  for (const [word, what] of [["Light on", "light on"], ["Off", "light off"], ["Reboot", "reboot"]]) {
    const button = node("button", word, "plain small");
    button.type = "button";
    button.addEventListener("click", () => {
      if (what === "reboot" && !confirm(`Reboot ${rig.address}?`)) return;
      act("/api/tend", { by: $("stop-by").value, unit_id: unit, address: rig.address, what }, `${rig.address}: ${what}`);
    });
    cell.append(button, " ");
  }
  return cell;
}

async function preview() {
  const said = $("preview-said");
  try {
    const found = await call(`/api/preview?limit_mw=${encodeURIComponent($("preview-mw").value)}`);
    const rows = found.units.filter((one) => one.asked_w !== null).map((one) => {
      const rigs = one.sleep_count === undefined ? "" : `, ${one.sleep_count} rigs asleep${one.not.length ? `, ${one.not.length} cannot be told (${one.not.slice(0, 3).map((r) => r.address).join(", ")})` : ""}`;
      return node("li", `${one.unit_id}: ${power(one.draws_w)} to ${power(one.asked_w)}${rigs}`);
    });
    const short = found.cannot_shed_w > 0 ? [node("li", `${power(found.cannot_shed_w)} above it could not be shed`, "bad")] : [];
    said.replaceChildren(...(rows.length ? rows : [node("li", "nothing would be asked of any unit")]), ...short);
  } catch (error) { said.replaceChildren(node("li", error.message, "bad")); }
}

async function drawRigs() {
  if (open === null) return;
  const said = await call(`/api/rigs?unit=${encodeURIComponent(open)}&first=${first}`);
  $("rigs-panel").hidden = false;
  $("rigs-unit").textContent = said.unit_id;
  $("rigs").replaceChildren(...said.rigs.map((one) => {
    const row = node("tr");
    const well = one.state === "runs" || one.state === "sleeps";
    row.append(
      node("td", one.address), node("td", one.state, well ? "" : "bad"),
      node("td", one.watts === null ? "–" : `${one.watts.toFixed(0)}${one.estimated ? " est." : ""}`, "n"),
      node("td", one.ths === null ? "–" : one.ths.toFixed(1), "n"), node("td", one.chip_c === null ? "–" : `${one.chip_c.toFixed(0)} °C`, "n"),
      node("td", one.asked || "–"), node("td", age(one.age_s), "n"), node("td", one.detail, "words"), tendCell(said.unit_id, one),
    );
    return named(row, "rigs");
  }));
  $("rigs-where").textContent = said.count ? `${first + 1} to ${first + said.rigs.length} of ${said.count}` : "none";
  $("rigs-back").disabled = first === 0;
  $("rigs-on").disabled = first + said.rigs.length >= said.count;
  $("rigs-on").onclick = () => { first += said.rigs.length; drawRigs(); };
  $("rigs-back").onclick = () => { first = Math.max(0, first - 100); drawRigs(); };
}

async function look() {
  clearTimeout(timer);
  try {
    const site = await call("/api/site");
    show(true);
    $("lost").hidden = true;
    drawHead(site); drawUnits(site); drawOrders(site); drawStop(site); drawFaults(site);
    await drawRigs();
  } catch (error) {
    if ($("page").hidden) return;
    $("lost").hidden = false;
    $("lost").textContent = `What is shown is old: ${error.message}`;
  }
  timer = setTimeout(look, EVERY_MS);
}

async function act(path, body, done) {
  const said = $("act-said");
  clearTimeout(told);
  told = setTimeout(() => { said.textContent = ""; }, 8000);
  try {
    await call(path, body);
    said.className = "good";
    said.textContent = done;
    look();
  } catch (error) {
    said.className = "bad";
    said.textContent = error.message;
  }
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("login-error").textContent = "";
  try {
    await call("/api/login", { password: $("password").value });
    $("password").value = "";
    look();
  } catch (error) { $("login-error").textContent = error.message; }
});
$("stop-form").addEventListener("submit", (event) => {
  event.preventDefault();
  act("/api/stop", {
    by: $("stop-by").value, why: $("stop-why").value, minutes: Number($("stop-minutes").value), unit_id: $("stop-unit").value || null,
  }, "Told; each rig is confirmed by what it draws.");
});
$("preview-form").addEventListener("submit", (event) => { event.preventDefault(); preview(); });
$("logout").addEventListener("click", async () => { await call("/api/logout", {}); show(false); });
call("/api/site").then(() => look(), () => show(false));
