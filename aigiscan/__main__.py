from aigiscan.cli.app import main

main()
