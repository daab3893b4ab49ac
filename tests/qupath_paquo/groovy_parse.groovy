/*
 * Parses the scripts that its arguments name, without resolving their classes, since QuPath's are not here; then loads
 * the first, LungXAI.groovy, as the scripts do.
 */
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

for (name in args) {
    def unit = new CompilationUnit()
    unit.addSource(new File(name))
    unit.compile(Phases.CONVERSION)
    println new File(name).name
}
def loaded = new GroovyClassLoader(getClass().classLoader).parseClass(new File(args[0]))
println loaded.name
println loaded.classLoader.loadClass('LungXAI$Connection').name
