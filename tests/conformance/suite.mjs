// Asks the suite what its own command line does not print.
//
//   node suite.mjs SUITE list                 the tests' metadata, as JSON
//   node suite.mjs SUITE run BASE_URL ID...   results of these tests, one test at a time, as JSON
//   node suite.mjs SUITE published            the public results that the suite names, as JSON
//
// SUITE is the npm package's directory, or a checkout's, which has its engine in a folder of its
// own. (The suite's export.mjs needs a development dependency that an installation does not have.)

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [directory, verb, baseUrl, ...ids] = process.argv.slice(2)
const root = resolve(directory)
const load = path => import(pathToFileURL(join(root, path)).href)

const checkout = existsSync(join(root, 'test-engine'))
const suites = [...(await load('tests/index.mjs')).default]
// The package's command line adds these to its index; later versions have none.
if (!checkout) suites.push((await load('tests/surrogate-control.mjs')).default)

if (verb === 'list') {
  const tests = suites.flatMap(suite => suite.tests.map(test => ({
    id: test.id,
    name: test.name,
    suite: suite.id,
    kind: test.kind,
    depends_on: test.depends_on,
    browser_only: test.browser_only
  })))
  console.log(JSON.stringify(tests))
} else if (verb === 'run') {
  const runner = await load(checkout ? 'test-engine/client/runner.mjs' : 'client/runner.mjs')
  const chosen = suites.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => ids.includes(test.id))
  }))
  if (checkout) {
    await runner.runTests(chosen, false, baseUrl, 1)
  } else {
    const fetch = createRequire(join(root, 'package.json'))('node-fetch')
    await runner.runTests(chosen, fetch, false, baseUrl, 1)
  }
  console.log(JSON.stringify(runner.getResults()))
} else if (verb === 'published') {
  const index = (await load('results/index.mjs')).default
  console.log(JSON.stringify(index.map(({ file, name, type, version }) => ({
    name,
    type,
    version,
    results: JSON.parse(readFileSync(join(root, 'results', file), 'utf8'))
  }))))
} else {
  console.error(`unknown verb: ${verb}`)
  process.exitCode = 2
}
