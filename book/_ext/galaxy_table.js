// Makes the table of all galaxies searchable and sortable; without it the table is as it stands in the page.
const SETS = {
  'all galaxies': [], 'candidates for a wrong label': ['.against', 'candidate'],
  'confident FRI': ['.humans', '^FRI confident'], 'confident FRII': ['.humans', '^FRII confident'],
  'uncertain FRI': ['.humans', '^FRI uncertain'], 'uncertain FRII': ['.humans', '^FRII uncertain'],
  hybrids: ['.humans', '^hybrid'],
};

document.addEventListener('DOMContentLoaded', () => {
  if (!window.DataTable) return;
  const shown = document.querySelector('table.galaxies');
  const scroll = shown.closest('.galaxies-scroll');
  const set = document.createElement('select');
  for (const name of Object.keys(SETS)) set.add(new Option(name));
  const choice = document.createElement('label');
  choice.append('Show ', set);
  scroll.replaceWith(shown);
  const table = new DataTable(shown, {
    order: [], autoWidth: false, pageLength: 25, lengthMenu: [25, 50, 100, { label: 'all', value: -1 }],
    layout: { topStart: [() => choice, 'search'], topEnd: null,
      bottomStart: 'info', bottomEnd: 'paging', bottom2Start: 'pageLength' },
    language: { search: 'Search', lengthMenu: '_MENU_ galaxies on a page', info: '_START_ to _END_ of _TOTAL_ galaxies',
      infoEmpty: 'no galaxy', infoFiltered: 'out of _MAX_', zeroRecords: 'No galaxy matches.' },
  });
  set.addEventListener('change', () => {
    const [column, text] = SETS[set.value];
    table.columns().search('');
    if (text) table.column(column).search(text, { regex: true, smart: false });
    table.draw();
  });
  table.table().header().addEventListener('keydown', event => { // DataTables listens to Enter alone
    if (event.key !== ' ' || !event.target.matches('[role=button]')) return;
    event.preventDefault();
    event.target.click();
  });
  const around = table.table().container().querySelector('.dt-layout-table'); // what scrolls now
  around.classList.add(...scroll.classList);
  for (const name of ['tabindex', 'role', 'aria-label']) around.setAttribute(name, scroll.getAttribute(name));
});
