import puppeteer from 'puppeteer-core';
const b=await puppeteer.launch({executablePath:'/usr/bin/chromium',headless:true,args:['--no-sandbox','--disable-gpu']});
for (const scheme of ['light','dark']) {
const p=await b.newPage(); await p.setViewport({width:900,height:1400});
await p.emulateMediaFeatures([{name:'prefers-color-scheme',value:scheme}]);
p.on('request',r=>!/^file:|^data:/.test(r.url())&&console.log('foreign',r.url()));
await p.goto('file:///tmp/runs/toy-infra/_build/html/page.html',{waitUntil:'load'});
await new Promise(r=>setTimeout(r,800));
const vis=()=>p.evaluate(()=>[...document.querySelectorAll('div.solution')].map(d=>{const s=d.querySelector('section');return [d.className, s.checkVisibility({opacityProperty:true,visibilityProperty:true}), s.offsetHeight, d.querySelector('button')?.outerHTML?.slice(0,160)]}));
console.log(JSON.stringify(await vis()));
await p.screenshot({path:`/tmp/runs/toy-infra/fold0.${scheme}.png`});
await p.click('div.solution button');
await new Promise(r=>setTimeout(r,600));
console.log(JSON.stringify(await vis()));
// keyboard
await p.focus('div.solution:last-of-type button'); await p.keyboard.press('Enter'); await new Promise(r=>setTimeout(r,600)); console.log(JSON.stringify(await vis()), p.url());
await p.screenshot({path:`/tmp/runs/toy-infra/fold1.${scheme}.png`});
await p.close();
}
await b.close();
