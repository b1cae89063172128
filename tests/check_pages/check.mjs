// node check.mjs FOLDER: open every page of a built book at two widths, light and dark, and exit 1 on a serious or
// critical axe violation, an error of the page, a failed or foreign request, sideways scrolling, unrendered mathematics,
// an image without a text of its own, or a table of galaxies that the keyboard can't search and sort. SHOTS=folder keeps
// a screenshot of every page.
import { createServer } from 'node:http';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import axe from 'axe-core';
import puppeteer from 'puppeteer-core';

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml',
  '.png': 'image/png', '.json': 'application/json', '.woff2': 'font/woff2' };
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
// Names of the theme's own controls: "Search" for "Search Ctrl+K", "Toggle hidden content" for "Show code cell source".
const THEME = { 'label-content-name-mismatch': { enabled: false } };
const WIDTHS = [1280, 390];
const SCHEMES = ['light', 'dark'];
const AT_ONCE = 3; // a little of the time is waiting
const folder = process.argv[2];
const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

function serve() {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname));
    try {
      const body = readFileSync(join(folder, path));
      response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)));
}

// Runs inside the page.
function layout() {
  const images = [...document.querySelectorAll('article img')];
  return {
    sideways: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    rawMath: [...document.querySelectorAll('article .math')].filter(m => !m.querySelector('mjx-container')).length,
    noAlt: images.filter(i => !i.alt.trim() || /^_?images|\.(png|svg)$|^\.\.\//.test(i.alt)).map(i => i.alt || i.src),
  };
}

// The table of all galaxies: what the keyboard alone does to it.
async function tableFaults(page) {
  if (!await page.$('table.galaxies')) return [];
  if (!await page.$('.dt-search input')) return ['the table has no search'];
  const found = [];
  const rows = () => page.$$eval('table.galaxies tbody tr', shown => shown.map(row => row.textContent));
  const sorted = () => page.$eval('table.galaxies thead th', heading => heading.ariaSort);
  await page.focus('.dt-search input');
  await page.keyboard.type('hybrid');
  await page.waitForNetworkIdle();
  if (!(await rows()).every(text => text.includes('hybrid'))) found.push('the table does not search');
  await page.focus('table.galaxies thead [role=button]');
  for (const [key, order] of [['Enter', 'ascending'], ['Space', 'descending']]) {
    await page.keyboard.press(key);
    await page.waitForNetworkIdle();
    if (await sorted() !== order) found.push(`${key} on a heading of the table does not sort`);
  }
  return found;
}

// Serious and critical violations of the rules; others are only counted.
async function violations(page) {
  const seen = await page.evaluate(async (values, rules) => (await window.axe.run({
    runOnly: { type: 'tag', values }, rules, resultTypes: ['violations'] })).violations, RULES, THEME);
  const found = [];
  for (const v of seen) {
    const line = `${v.impact} ${v.id} (${v.nodes.length}): ${v.nodes[0].target.join(' ').slice(0, 80)} ${v.nodes[0].any[0]?.message ?? ''}`;
    if (['serious', 'critical'].includes(v.impact)) found.push(line);
    else minor.set(`${v.impact} ${v.id}`, (minor.get(`${v.impact} ${v.id}`) ?? 0) + 1);
  }
  return found;
}

async function faults(browser, base, name, width) {
  const found = [];
  let loading = true;
  const context = await browser.createBrowserContext(); // the theme remembers light or dark
  const page = await context.newPage();
  page.on('pageerror', error => found.push(`error of the page: ${error.message}`));
  page.on('requestfailed', request => loading && found.push(`failed request: ${request.url()}`));
  page.on('response', response => loading && response.status() >= 400
    && found.push(`status ${response.status()}: ${response.url()}`));
  page.on('request', request => /^https?:/.test(request.url()) && !request.url().startsWith(base)
    && found.push(`request to another server: ${request.url()}`));
  await page.setViewport({ width, height: 900 });
  await page.setBypassCSP(true);
  await page.goto(base + name, { waitUntil: 'load', timeout: 60000 });
  await page.waitForNetworkIdle({ idleTime: 100 });
  await page.evaluate(() => window.MathJax?.startup?.promise);
  await page.addStyleTag({ content: '*, *::before, *::after { transition: none !important; animation: none !important; }' });
  await page.evaluate(axe.source);
  loading = false; // axe reads style sheets again, and looks for those that they import in the wrong folder
  for (const scheme of SCHEMES) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.waitForFunction(wanted => document.documentElement.dataset.theme === wanted, {}, scheme);
    found.push(...(await violations(page)).map(line => `${scheme}: ${line}`));
    const seen = await page.evaluate(layout);
    if (seen.sideways) found.push(`${scheme}: scrolls sideways`);
    if (seen.rawMath) found.push(`${scheme}: ${seen.rawMath} formulas were not rendered`);
    for (const image of seen.noAlt) found.push(`${scheme}: image without a text of its own: ${image}`);
    if (shots) await page.screenshot({ path: join(shots, `${name.replaceAll('/', '_')}.${width}.${scheme}.png`), fullPage: true });
  }
  found.push(...await tableFaults(page));
  await context.close();
  return found;
}

const minor = new Map();
const server = await serve();
const base = `http://127.0.0.1:${server.address().port}/`;
const pages = readdirSync(folder, { recursive: true }).map(String)
  .filter(name => name.endsWith('.html') && !/^(_static|vendor|reports)\//.test(name)).sort();
if (!pages.length) throw new Error(`no page in ${folder}: build the book first`);
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: ['--no-sandbox', '--disable-gpu'] });
const views = pages.flatMap(name => WIDTHS.map(width => [name, width]));
let bad = 0;
async function look() {
  for (let view = views.shift(); view; view = views.shift()) {
    const found = await faults(browser, base, ...view);
    bad += found.length;
    for (const fault of found) console.log(`${view[0]} at ${view[1]} px: ${fault}`);
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, look));
await browser.close();
server.close();
for (const [what, count] of minor) console.log(`note: ${what} on ${count} views`);
console.log(`${pages.length} pages, ${WIDTHS.length} widths, light and dark: ${bad} faults`);
process.exit(bad ? 1 : 0);
