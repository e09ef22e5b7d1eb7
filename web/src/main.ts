// The page's frame: which page, and moving between them without loading anew.

import { afterLogin, feed, get, type Me } from "./data";
import { h, put } from "./dom";
import { Header } from "./header";
import { listenForPalette } from "./palette";
import { overviewPage } from "./pages/overview";

type Leave = () => void;
type Page = (root: HTMLElement, ...parts: string[]) => Leave;

// A page's code is read when the page is first opened; the overview's is there from the start.
const PAGES: [path: RegExp, page: () => Promise<Page>][] = [
  [/^\/my$/, () => import("./pages/my").then((m) => m.myPage)],
  [/^\/my\/invoices\/([^/]+)$/, () => import("./pages/invoice").then((m) => m.invoicePage)],
  [/^\/login$/, () => import("./pages/login").then((m) => m.loginPage)],
  [/^\/join$/, () => import("./pages/login").then((m) => m.joinPage)],
  [/^\/account$/, () => import("./pages/account").then((m) => m.accountPage)],
  [/^\/people$/, () => import("./pages/people").then((m) => m.peoplePage)],
  [/^\/audit$/, () => import("./pages/audit").then((m) => m.auditPage)],
  [/^\/observed$/, () => import("./pages/observed").then((m) => m.observedPage)],
  [/^\/rigs\/([^/]+)\/([^/]+)$/, () => import("./pages/rig").then((m) => m.rigPage)],
  [/^\/rigs$/, () => import("./pages/rigs").then((m) => m.rigsPage)],
  [/^\/approvals$/, () => import("./pages/approvals").then((m) => m.approvalsPage)],
  [/^\/alerts\/take$/, () => import("./pages/take").then((m) => m.takePage)],
  [/^\/alerts$/, () => import("./pages/alerts").then((m) => m.alertsPage)],
  [/^\/tomorrow$/, () => import("./pages/tomorrow").then((m) => m.tomorrowPage)],
  [/^\/site\/([^/]+)$/, () => import("./pages/site").then((m) => m.sitePage)],
  [/^\/records\/(\d+)$/, () => import("./pages/records").then((m) => m.recordPage)],
  [/^\/records/, () => import("./pages/records").then((m) => m.recordsPage)],
  [/^\/inference$/, () => import("./pages/inference").then((m) => m.inferencePage)],
  [/^\/treasury$/, () => import("./pages/money").then((m) => m.treasuryPage)],
  [/^\/books$/, () => import("./pages/money").then((m) => m.booksPage)],
  [/^\/update$/, () => import("./pages/money").then((m) => m.updatePage)],
  [/^\/disclosures$/, () => import("./pages/disclosures").then((m) => m.disclosuresPage)],
];

const root = document.getElementById("page")!;
let leave: Leave | null = null;
let routed = 0;
let header: Header | null = null;
// A change of the part after # stays on its page, which listens for it.
let shown = location.pathname;

function route(): void {
  leave?.();
  leave = null;
  const path = location.pathname, mine = ++routed;
  shown = path;
  root.className = path === "/" ? "overview" : path.split("/")[1]!;
  header?.here(path);
  for (const [pattern, page] of PAGES) {
    const found = pattern.exec(path);
    if (!found) continue;
    page().then((make) => {
      if (mine === routed) leave = make(root, ...found.slice(1).map(decodeURIComponent));
    }).catch(() => put(root, h("p", { class: "wait", role: "alert" }, "This page's code could not be read; the console may have been updated. Load the page anew.")));
    return;
  }
  leave = overviewPage(root, open);
}

function open(path: string): void {
  history.pushState(null, "", path);
  route();
  scrollTo(0, 0);
}

document.addEventListener("click", (e) => {
  const a = (e.target as Element).closest?.("a[data-nav]");
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey) return;
  e.preventDefault();
  document.querySelector("dialog")?.remove();
  open(a.getAttribute("href")!);
});
addEventListener("popstate", () => {
  if (location.pathname === shown) return;
  route();
});

async function start(): Promise<void> {
  if (location.pathname === "/login" || location.pathname === "/join") {
    route();
    return;
  }
  // A tenant's person has two pages and is told nothing of the fleet.
  const portal = location.pathname === "/my" || location.pathname.startsWith("/my/");
  if (portal || location.pathname === "/account") {
    const me = await get<Me>("/api/me").catch(() => null);
    if (portal || me?.tenant) {
      const { portalHeader } = await import("./pages/my");
      document.getElementById("top")!.append(portalHeader(me));
      route();
      return;
    }
  }
  for (;;) {
    try {
      await feed.load();
      break;
    } catch (error) {
      put(root, h("p", { class: "wait" }, `The console does not answer (${(error as Error).message}). Trying again.`));
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
  const before = location.pathname === "/" ? afterLogin() : null;
  if (before) history.replaceState(null, "", before);
  header = new Header(open);
  listenForPalette(open);
  document.getElementById("top")!.append(header.el);
  route();
  feed.start();
}

void start();
