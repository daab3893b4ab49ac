/*
 * LungXAI: show what the answer rests on, as a heatmap in steps and as a measurement of each tile.
 *
 * With a tile selected, the steps of that tile alone. Arguments: method=gradcam ..., run=NAME
 * Research use only, not a diagnosis. Settings: LungXAI.properties, see docs/qupath_scripts.md.
 */
import qupath.lib.scripting.QP

// QuPath tells a script neither its own folder nor other scripts: the shared files are looked for where scripts lie.
def folders = [System.getenv('LUNGXAI_GROOVY')]
if (QP.getProject() != null)
    folders << QP.buildFilePath(QP.PROJECT_BASE_DIR, 'scripts')
try {
    def own = Class.forName('qupath.lib.gui.UserDirectoryManager', true, getClass().classLoader).getInstance().getScriptsDirectoryPath()
    folders += own == null ? [] : [own.toString(), own.resolve('LungXAI').toString()]
} catch (ClassNotFoundException fault) {
    println 'LungXAI: QuPath runs without its window, so only LUNGXAI_GROOVY and the project are looked into.'
}
def folder = folders.findAll { it }.collect { new File(it) }.find { new File(it, 'LungXAIQuPath.groovy').isFile() }
if (folder == null)
    throw new RuntimeException('LungXAI.groovy and LungXAIQuPath.groovy were not found. Put all LungXAI files into the folder "scripts" ' +
        'of the project or of QuPath, or name their folder in LUNGXAI_GROOVY. Looked into: ' + folders.findAll { it }.join(', '))
def loader = new GroovyClassLoader(getClass().classLoader)
loader.parseClass(new File(folder, 'LungXAI.groovy'))
def shared = loader.parseClass(new File(folder, 'LungXAIQuPath.groovy'))
def words = binding.hasVariable('args') && args != null ? args as List<String> : []

shared.run('LungXAI: explain', folder, words) { lungxai ->
    def top = lungxai.chosenRun()
    def methods = lungxai.methods()
    def method = lungxai.choose('method', 'Which method?', methods, methods[0])
    def tiles = lungxai.explain(top, method)
    println 'LungXAI: ' + tiles + ' tiles measured. Measure > Show measurement maps colours them.'
}
