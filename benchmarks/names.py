"""Names that made-up people have: common ones of many countries, so that their parts are shared."""

_FIRST = """
    anna anton ada alan alice amir ana andrea anja annika arne ayşe béatrice bernd björn
    boris carla carlos cem chen clara daniel david diana dirk dmitri elena elif emil emma
    erik esra eva fabian farid fatima felix fiona franz gabriel georg giulia grace greta
    hana hans heike helga hugo ibrahim igor ines ingrid irina isabel ivan jakob jan jana
    jean jens joana johanna jonas josé julia jürgen kai karl katja kemal kim klaus lara lars
    laura léa leon lina linh louis lucas lucía luis maja marco maria marie martin mehmet mei
    michael mia milan mina mohammed nadia nina noah nora olga oliver omar oskar paul pedro
    petra pia quentin rachel ravi renate robert rosa ruth samir sara sebastian sofia stefan
    susanne sven tamara tariq theo thomas tim tina tom ursula uwe vera viktor wei wolfgang
    xenia yara yusuf zoë zofia
"""
_LAST = """
    abel adler ahmed albrecht andersson arnold bach bauer becker berg bernard bianchi böhm
    brandt braun brown busch chen costa dietrich dubois ebert engel esposito fernandez
    ferrari fischer fontana frank franke friedrich fuchs garcia gonzalez graf groß günther
    haas hahn hansen hartmann heinrich hoffmann horn hopper huber ivanov jäger jansen
    johnson jones jung kaiser keller kim klein koch könig kowalski kraus krüger kuhn kumar
    lang larsen laurent lehmann leroy li lovelace ludwig maier marino martin martinez mayer
    meier mendes meyer moreau möller moretti müller nagy nguyen nowak novak oliveira olsson
    otto peters petrov pfeiffer pohl popov richter rodriguez romano rossi roth roy russo
    sato sauer schäfer schmid schmidt schmitt schneider scholz schreiber schröder schubert
    schulte schulz schumacher schuster schwarz seidel silva simon singh smith sommer stein
    suzuki tanaka thomas tran turing vogel vogt wagner walter wang weber weiß werner winkler
    winter wolf wong yamamoto zhang ziegler zimmermann
"""
FIRST, LAST = _FIRST.split(), _LAST.split()
PROVIDERS = ["example.com", "example.org", "mail.example.com", "post.example.net", "firma.example"]
